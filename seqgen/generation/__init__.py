"""Sampling from a generator and scoring with it.

Imports `models`, `functional`, `metrics` and `data`. Start with `sample`, the loop over tokens; `categorical`
is the draw of a token from a large vocabulary.

mixture_draw        draws from a generator mixed with n-grams
rollouts            the expected reward of every prefix, for the policy gradient
rollout_readers     what reads along with them, and rewards their ends
gumbel_softmax      relaxed samples, through which gradients flow
contrastive_search  decoding that avoids repetition
embeddings          sentences as the mean state of a generator
likelihood          NLL of text under a generator
"""
