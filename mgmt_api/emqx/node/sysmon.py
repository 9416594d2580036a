"""The root `sysmon`: when the machine is looked at, and what is too much."""

from pydantic import Field, model_validator

from ....broker.system_watch import SystemWatchSettings
from ...configuration import Governed, Root
from ...limits import Body
from ...quantities import (
    ByteSizeOrDisabled,
    DurationOrDisabled,
    Percent,
    PositiveDuration,
    fraction,
    interval,
    seconds,
)


class SystemMachine(Body):
    """The machine's processors and memory."""

    cpu_check_interval: PositiveDuration = "60s"
    cpu_high_watermark: Percent = "80%"
    cpu_low_watermark: Percent = "60%"
    mem_check_interval: DurationOrDisabled = "60s"
    sysmem_high_watermark: Percent = "70%"
    procmem_high_watermark: Percent = "5%"

    @model_validator(mode="after")
    def _ordered(self) -> "SystemMachine":
        if fraction(self.cpu_low_watermark) > fraction(self.cpu_high_watermark):
            raise ValueError("cpu_low_watermark is above cpu_high_watermark")
        return self


class SystemRuntime(Body):
    """What is told of the program itself; of EMQX's runtime, only what this one has, too, has an effect."""

    process_check_interval: PositiveDuration = "30s"
    process_high_watermark: Percent = "80%"
    process_low_watermark: Percent = "60%"
    long_gc: DurationOrDisabled = "disabled"
    long_schedule: DurationOrDisabled = Field(
        default="240ms", description="How late the event loop may be before the log and `$SYS` topics tell of it"
    )
    large_heap: ByteSizeOrDisabled = "32MB"
    busy_dist_port: bool = True
    busy_port: bool = True


class SystemMonitor(Body):
    """What is watched."""

    vm: SystemRuntime = SystemRuntime()
    os: SystemMachine = SystemMachine()


def _apply(governed: Governed, value: SystemMonitor) -> None:
    machine = value.os
    governed.broker.system_watch.configure(
        SystemWatchSettings(
            cpu_interval=seconds(machine.cpu_check_interval),
            cpu_high=fraction(machine.cpu_high_watermark),
            cpu_low=fraction(machine.cpu_low_watermark),
            memory_interval=interval(machine.mem_check_interval),
            system_memory_high=fraction(machine.sysmem_high_watermark),
            process_memory_high=fraction(machine.procmem_high_watermark),
            long_schedule=interval(value.vm.long_schedule),
        )
    )


SYSMON: Root[SystemMonitor] = Root("sysmon", SystemMonitor, lambda _: SystemMonitor(), _apply)
