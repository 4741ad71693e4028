from model.config import (
    AugmentConfig,
    MultipathConfig,
    job_from_builtins,
)
from tests.builders.jobs import values


def test_leaving_a_transform_out_is_null_and_not_an_empty_one() -> None:
    augment = job_from_builtins(values(augment={"multipath": None})).augment
    assert augment == AugmentConfig(multipath=None)
    assert augment != AugmentConfig(multipath=MultipathConfig())
