"""Where programs run that nobody vouches for, and what they may use."""

from typing import Literal

from pydantic import Field

from tidemill.settings.section import AbsolutePath, Section

MIB = 1024 * 1024


class SandboxSettings(Section):
    """The engine, how many programs run at once, and what each of them may use."""

    engine: Literal["auto", "bubblewrap", "sandlock"] = Field(
        "auto", description="What isolates programs: the first that works here, or this one alone."
    )
    readable: list[AbsolutePath] = Field(
        default_factory=list, description="Further folders that programs may read, such as a virtual environment."
    )
    concurrency: int = Field(2, ge=1, le=256, description="Programs that run at once.")
    seconds: float = Field(60.0, gt=0, le=3600, description="A program is killed after so long.")
    cpu_seconds: int = Field(60, ge=1, le=3600, description="Processor time of each of its processes.")
    memory_bytes: int = Field(1024 * MIB, ge=16 * MIB, description="Memory of all its processes together.")
    processes: int = Field(64, ge=4, le=10_000, description="Processes and threads that it may have at once.")
    output_bytes: int = Field(MIB, ge=1024, description="Bytes that are kept of its output, and of its errors.")
    files_bytes: int = Field(512 * MIB, ge=MIB, description="Bytes of its files, those that it was given among them.")
    open_files: int = Field(256, ge=16, le=65_536, description="Files that each of its processes may have open.")
