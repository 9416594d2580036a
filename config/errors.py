"""What a wrong configuration raises."""


class ConfigError(Exception):
    """Say in one sentence what is wrong with the configuration and where it stands."""
