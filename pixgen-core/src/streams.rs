//! What each stream of the random generator is for, in one place, so that no two uses share numbers.

/// A use of randomness. The numbers are part of the file format of a run: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Initial noise of a picture: number = picture.
    Latent = 1,
    /// Noise added again between two steps of a sampler: number = picture.
    Renoise = 2,
    /// Initial parameters: number = position in the list.
    Initialisation = 3,
    /// Order of the training images.
    Order = 4,
    /// Noise of the training inputs: number = images seen.
    TrainingNoise = 5,
    /// Noise levels: number = images seen.
    NoiseLevel = 6,
    /// Augmentations: number = images seen.
    Augmentation = 7,
    /// Dropout masks: number = images seen.
    Dropout = 8,
    /// Dropped labels: number = images seen.
    LabelDrop = 9,
    /// Split of a data set.
    Split = 10,
    /// Initial parameters of the projector: number = position.
    Projector = 11,
    /// Order in which stage 3 takes the classes.
    ClassOrder = 12,
    /// Order of the real pictures of a class in stage 3: number = class.
    OrderInClass = 13,
    /// Anything in tests and measurements.
    Test = 255,
}

/// The stream of one use: purpose in the low byte, number above it.
pub const fn stream(purpose: Purpose, number: u64) -> u64 {
    (number << 8) | purpose as u64
}
