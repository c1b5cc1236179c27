"""Static engines: what they find of what a change brings. They read text and run none.

Imports `analysis`, `core`."""

from tidemill.review.engines.bandit import BanditEngine
from tidemill.review.engines.flow import FlowEngine
from tidemill.review.engines.manifests import ManifestsEngine
from tidemill.review.engines.memory import EngineMemory, name_of
from tidemill.review.engines.port import Engine, EngineFailed, EngineResult, Reading, ScriptedEngine, TreeEngine
from tidemill.review.engines.ruff import RuffEngine
from tidemill.review.engines.secrets import SecretsEngine
from tidemill.review.engines.semgrep import SemgrepEngine

__all__ = [
    "BanditEngine",
    "Engine",
    "EngineFailed",
    "EngineMemory",
    "EngineResult",
    "FlowEngine",
    "ManifestsEngine",
    "Reading",
    "RuffEngine",
    "ScriptedEngine",
    "SecretsEngine",
    "SemgrepEngine",
    "TreeEngine",
    "name_of",
]
