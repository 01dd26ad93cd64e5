//! Fashion-MNIST: the four IDX files as they are.

use super::archive;
use super::error::{ArchiveProblem, PackageError};
use super::place::Staging;
use std::path::Path;

const FOLDER: &str = "usr/share/datasets/fashion-mnist/";
const COPYRIGHT: &str = "usr/share/doc/dataset-fashion-mnist/copyright";

/// Takes the files out of Debian's package.
///
/// # Errors
/// [`PackageError::Archive`], [`PackageError::File`].
pub fn unpack(package: &Path, staging: &mut Staging) -> Result<(), PackageError> {
    let mut found = 0;
    let wanted = |name: &str| name == COPYRIGHT || idx_file(name).is_some();
    archive::deb(package, wanted, |name, bytes| {
        match idx_file(name) {
            Some(file) => {
                found += 1;
                staging.write(file, &bytes)?;
            }
            None => staging.licence(&bytes),
        }
        Ok(())
    })?;
    if found != 4 {
        return Err(PackageError::archive(package, ArchiveProblem::Count { of: "IDX files", found, expected: 4 }));
    }
    staging.summarise("4 IDX files, 60,000 + 10,000 pictures of 28x28, 10 classes".to_owned());
    Ok(())
}

/// The name of an IDX file, of its path in the package.
fn idx_file(path: &str) -> Option<&str> {
    let name = path.strip_prefix(FOLDER)?;
    (name.ends_with("-ubyte.gz") && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::archive::making;
    use crate::packages::place::WorkFolder;

    #[test]
    fn four_files_and_the_licence() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"];
        let paths = names.map(|name| format!("{FOLDER}{name}-ubyte.gz"));
        let mut files: Vec<(&str, &[u8])> = paths.iter().map(|path| (path.as_str(), path.as_bytes())).collect();
        files.extend([(COPYRIGHT, &b"as is"[..]), ("usr/share/doc/x/README", b"no")]);
        let work = WorkFolder::open(&folder.path().join("out")).unwrap();
        let package = crate::packages::catalogue::Name::FashionMnist.package();
        let mut staging = work.stage(package).unwrap();
        unpack(&making::deb(folder.path(), &files), &mut staging).unwrap();
        for (name, path) in names.iter().zip(&paths) {
            assert_eq!(std::fs::read(staging.root().join(format!("{name}-ubyte.gz"))).unwrap(), path.as_bytes());
        }
        let error = unpack(&making::deb(folder.path(), &files[1..]), &mut staging).unwrap_err();
        assert!(error.to_string().contains("3 IDX files"), "{error}");
    }
}
