"""The settings of the server process: a commented YAML file, environment variables over it, flags over both."""
