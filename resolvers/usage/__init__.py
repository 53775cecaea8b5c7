"""What is used: the dashboard, tokens, costs and estimates."""
