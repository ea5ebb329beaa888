"""The pipeline: roles, prompts and their order, tools, replay, judges, rules and custom pipelines."""
