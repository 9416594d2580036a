"""What the broker loads through amqtt's plugin interface."""
