"""What a trained image model is good for: anomalies, few labels, augmentation, pictures.

Start with `anomaly`.
"""
