"""Stand in for mosquitto_pub and mosquitto_sub where those are missing: the options that the README uses, on paho-mqtt.

python paho_tools.py pub -h HOST -p PORT -u USER -P PASSWORD -t TOPIC -m MESSAGE [-q QOS] [-r]
python paho_tools.py sub -h HOST -p PORT -u USER -P PASSWORD -t FILTER [-q QOS] [-v] [-C COUNT] [-W SECONDS]
"""

import argparse
import sys
import threading
from typing import Any

import paho.mqtt.client as mqtt

CONNECT_SECONDS = 10
TIMED_OUT = 27  # as mosquitto_sub


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("role", choices=("pub", "sub"))
    parser.add_argument("-h", dest="host", default="127.0.0.1")
    parser.add_argument("-p", dest="port", type=int, default=1883)
    parser.add_argument("-u", dest="username")
    parser.add_argument("-P", dest="password")
    parser.add_argument("-i", dest="client_id", default="")
    parser.add_argument("-t", dest="topic", required=True)
    parser.add_argument("-q", dest="qos", type=int, default=0)
    parser.add_argument("-m", dest="message", default="")
    parser.add_argument("-r", dest="retain", action="store_true")
    parser.add_argument("-v", dest="verbose", action="store_true")
    parser.add_argument("-C", dest="count", type=int, default=0)
    parser.add_argument("-W", dest="seconds", type=float)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    done = threading.Event()
    failure: list[str] = []
    received = 0

    def on_connect(client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            failure.append(f"Connection error: {reason}.")
            done.set()
        elif options.role == "sub":
            client.subscribe(options.topic, options.qos)
        else:
            client.publish(options.topic, options.message, options.qos, options.retain)

    def on_subscribe(_client: mqtt.Client, _data: Any, _mid: int, reasons: list[Any], _properties: Any) -> None:
        if reasons[0].is_failure:
            failure.append("All subscription requests were denied.")
            done.set()

    def on_message(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        nonlocal received
        if done.is_set():
            return
        text = message.payload.decode(errors="replace")
        print(f"{message.topic} {text}" if options.verbose else text, flush=True)
        received += 1
        if received == options.count:
            done.set()

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=options.client_id)
    if options.username is not None:
        client.username_pw_set(options.username, options.password)
    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    client.on_publish = lambda *_: done.set()
    client.connect(options.host, options.port)
    client.loop_start()
    finished = done.wait(options.seconds if options.role == "sub" else CONNECT_SECONDS)
    client.disconnect()
    client.loop_stop()
    if failure:
        print(failure[0], file=sys.stderr)
        return 5
    return 0 if finished else TIMED_OUT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
