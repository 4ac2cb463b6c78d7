"""Speed against naive references and the floor."""
