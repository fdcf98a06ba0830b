//! What is shown: findings and verdicts rendered, nothing decided.
