"""The answer in words: findings, takeaways, caveats, and what would change them."""
