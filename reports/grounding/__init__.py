"""Where the figures of a role's text come from: its inputs, a calculation, an earlier role, or nowhere."""
