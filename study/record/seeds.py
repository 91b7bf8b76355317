"""Seeds and digests that follow from what they are of, the same on every machine."""

import hashlib
import json

from model.solvers import Config
from study.record.parameters import to_params


def stable_digest(*parts: object) -> str:
    """32 hexadecimal digits that follow from the parts, the same in every process."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def stable_seed(*parts: object) -> int:
    """A 32-bit seed that follows from the parts."""
    return int(stable_digest(*parts)[:8], 16)


def setting_seed(study_seed: int, config: Config) -> int:
    """The seed of a setting's training, in the study and when it is trained again."""
    return stable_seed("setting", study_seed, to_params(config))
