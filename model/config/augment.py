"""The knobs of the augmentation, in training and at test time."""

from typing import Annotated

from msgspec import Meta, field

from model.config.base import Config, Count, Positive, require_finite


class MultipathConfig(Config, frozen=True, kw_only=True):
    """Jakes fading on a tapped delay line with an exponential power profile."""

    num_taps: Annotated[int, Meta(ge=1, le=16, description="taps, one sample apart")] = 2
    max_doppler_hz: Annotated[float, Meta(gt=0, description="Doppler spread ~ U(0, this)")] = 5.0
    min_delay_spread_s: Annotated[float, Meta(gt=0, description="delay spread ~ U(this, max)")] = 5e-9
    max_delay_spread_s: Positive = 300e-9
    num_rays: Annotated[int, Meta(ge=1, description="sinusoids summed for each tap")] = 20

    def __post_init__(self) -> None:
        require_finite(self)
        if self.min_delay_spread_s > self.max_delay_spread_s:
            raise ValueError(
                f"min_delay_spread_s {self.min_delay_spread_s:g} is above "
                f"max_delay_spread_s {self.max_delay_spread_s:g}"
            )


class CarrierOffsetConfig(Config, frozen=True, kw_only=True):
    """A carrier frequency offset (CFO) drawn for each burst."""

    max_hz: Annotated[float, Meta(gt=0, description="offset ~ U(-this, this)")] = 200.0


class SnrWarmupConfig(Config, frozen=True, kw_only=True):
    """A curriculum, clean bursts first: the lowest SNR falls in equal steps from `start_db` to that of the noise."""

    start_db: Annotated[float, Meta(description="lowest SNR in the first epoch")] = 30.0
    epochs: Annotated[int, Meta(ge=1, description="epochs until the lowest SNR is the noise's own")] = 50


class NoiseConfig(Config, frozen=True, kw_only=True):
    """White Gaussian noise (AWGN) at a signal-to-noise ratio drawn for each burst."""

    min_snr_db: Annotated[float, Meta(description="SNR ~ U(this, max)")] = 10.0
    max_snr_db: float = 40.0
    warmup: SnrWarmupConfig | None = None

    def __post_init__(self) -> None:
        require_finite(self)
        if self.min_snr_db > self.max_snr_db:
            raise ValueError(f"min_snr_db {self.min_snr_db:g} is above max_snr_db {self.max_snr_db:g}")
        if self.warmup is not None and not self.min_snr_db < self.warmup.start_db <= self.max_snr_db:
            raise ValueError(
                f"warmup.start_db {self.warmup.start_db:g} must lie above min_snr_db {self.min_snr_db:g}, "
                f"or it has no effect, and not above max_snr_db {self.max_snr_db:g}"
            )


class PhaseNoiseConfig(Config, frozen=True, kw_only=True):
    """Wiener phase noise of a free-running oscillator."""

    max_linewidth_hz: Annotated[float, Meta(gt=0, description="3 dB linewidth ~ U(0, this)")] = 50.0


class RollConfig(Config, frozen=True, kw_only=True):
    """A circular shift in time."""

    max_fraction: Annotated[float, Meta(gt=0, le=1, description="shift ~ U(0, this) of the burst's length")] = 1.0


class CropConfig(Config, frozen=True, kw_only=True):
    """A part of the burst, moved to its start, with zeros after it."""

    min_fraction: Annotated[float, Meta(gt=0, lt=1, description="length kept ~ U(this, 1) of the burst's")] = 0.8


class IqImbalanceConfig(Config, frozen=True, kw_only=True):
    """A mixer whose two arms differ in gain and phase."""

    max_gain_db: Annotated[float, Meta(ge=0, description="gain of I over Q ~ U(-this, this)")] = 1.0
    max_phase_deg: Annotated[float, Meta(ge=0, lt=90, description="phase error ~ U(-this, this)")] = 5.0

    def __post_init__(self) -> None:
        require_finite(self)
        if self.max_gain_db == 0 and self.max_phase_deg == 0:
            raise ValueError("max_gain_db and max_phase_deg are both 0: that changes nothing; use null to leave it out")


class GainJitterConfig(Config, frozen=True, kw_only=True):
    """A gain that changes within a burst. Normalising the power would undo a constant gain."""

    max_db: Annotated[float, Meta(gt=0, description="gain at each point ~ U(-this, this)")] = 3.0
    points: Annotated[int, Meta(ge=2, description="points over the burst; straight lines in dB between them")] = 8


class ConstantPhaseConfig(Config, frozen=True, kw_only=True):
    """One random phase for the whole burst."""

    max_deg: Annotated[float, Meta(gt=0, le=180, description="turn ~ U(-this, this)")] = 180.0


class MixupConfig(Config, frozen=True, kw_only=True):
    """Mixup (Zhang et al. 2018, arXiv 1710.09412): bursts and their targets are blended in pairs."""

    alpha: Annotated[float, Meta(gt=0, description="share of the first ~ Beta(this, this)")] = 0.4


class AugmentConfig(Config, frozen=True, kw_only=True):
    """The transforms of a training burst, in the order of these fields; `null` leaves a transform out."""

    crop: CropConfig | None = None
    roll: RollConfig | None = None
    iq_imbalance: IqImbalanceConfig | None = None
    gain_jitter: GainJitterConfig | None = None
    constant_phase: ConstantPhaseConfig | None = None
    phase_noise: PhaseNoiseConfig | None = None
    multipath: MultipathConfig | None = field(default_factory=MultipathConfig)
    carrier_offset: CarrierOffsetConfig | None = field(default_factory=CarrierOffsetConfig)
    noise: NoiseConfig | None = field(default_factory=NoiseConfig)
    mixup: MixupConfig | None = None


class TestTimeConfig(Config, frozen=True, kw_only=True):
    """Test-time augmentation: class probabilities are averaged over a burst and its changed copies."""

    copies: Annotated[Count, Meta(description="changed copies of each burst, beside the burst itself")] = 8
    carrier_offset: CarrierOffsetConfig | None = field(default_factory=CarrierOffsetConfig)
    noise: NoiseConfig | None = field(default_factory=NoiseConfig)

    def __post_init__(self) -> None:
        require_finite(self)
        if self.carrier_offset is None and self.noise is None:
            raise ValueError("carrier_offset and noise are both null: the copies would be the burst itself")
        if self.noise is not None and self.noise.warmup is not None:
            raise ValueError("noise.warmup has no effect at test time: there are no epochs; leave it out")
