//! cuBLASLt, looked for and loaded at run time: nothing of it is needed to build.
//!
//! It is the system's, the one of the CUDA toolkit, or the one that PyTorch brought into a Python environment. Only the functions of a
//! product are looked up, by the names and numbers that have not changed since CUDA 12.0 (`cublasLt.h`).

use super::error::BlasError;
use crate::device::Version;
use cubecl::cuda::install::cuda_path;
use libloading::Library as Shared;
use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Major versions that are known to have these functions, the newest first.
const VERSIONS: [u32; 2] = [13, 12];

/// What `cublasLtCreate`, `cublasLtMatmulDescCreate` and the like return: objects that only the library looks into.
pub type Opaque = *mut c_void;

/// `cublasLtMatmulAlgo_t`: how a product is computed.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Algorithm {
    data: [u64; 8],
}

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Heuristic {
    /// How to compute it.
    pub algorithm: Algorithm,
    /// Bytes of workspace that it needs.
    pub workspace: usize,
    /// Status: whether it can be used.
    pub state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

/// Declares the functions that are looked up, all of which return a status.
macro_rules! functions {
    ($($name:ident = $symbol:literal($($argument:ty),*);)*) => {
        /// The functions of the library.
        #[derive(Debug)]
        pub struct Functions {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl Functions {
            fn load(shared: &Shared) -> Result<Self, libloading::Error> {
                // SAFETY: the types are those of cublasLt.h; the library is never unloaded (see `Library`).
                Ok(Self { $($name: *unsafe { shared.get($symbol) }?,)* })
            }
        }
    };
}

functions! {
    create = "cublasLtCreate"(*mut Opaque);
    describe = "cublasLtMatmulDescCreate"(*mut Opaque, c_int, c_int);
    forget_description = "cublasLtMatmulDescDestroy"(Opaque);
    set_description = "cublasLtMatmulDescSetAttribute"(Opaque, c_int, *const c_void, usize);
    lay_out = "cublasLtMatrixLayoutCreate"(*mut Opaque, c_int, u64, u64, i64);
    forget_layout = "cublasLtMatrixLayoutDestroy"(Opaque);
    prefer = "cublasLtMatmulPreferenceCreate"(*mut Opaque);
    forget_preference = "cublasLtMatmulPreferenceDestroy"(Opaque);
    set_preference = "cublasLtMatmulPreferenceSetAttribute"(Opaque, c_int, *const c_void, usize);
    choose = "cublasLtMatmulAlgoGetHeuristic"(Opaque, Opaque, Opaque, Opaque, Opaque, Opaque, Opaque, c_int, *mut Heuristic, *mut c_int);
    algorithm_number = "cublasLtMatmulAlgoConfigGetAttribute"(*const Algorithm, c_int, *mut c_void, usize, *mut usize);
    multiply = "cublasLtMatmul"(
        Opaque, Opaque, *const c_void, *const c_void, Opaque, *const c_void, Opaque, *const c_void, *const c_void, Opaque, *mut c_void,
        Opaque, *const Algorithm, *mut c_void, usize, *mut c_void
    );
}

/// The loaded library. It stays loaded to the end of the process, since the driver keeps its kernels.
#[derive(Debug)]
pub struct Library {
    /// Its functions.
    pub functions: Functions,
    /// Its version, as `cublasLtGetVersion` packs it: 10000 x major + 100 x minor + patch.
    pub version: usize,
    /// The file, or the name where the system's loader was asked.
    pub path: PathBuf,
}

impl Library {
    /// The library of this process for the driver's version of CUDA, loaded at the first call.
    ///
    /// # Errors
    /// It is not there, or what is there cannot be used; the same at every call.
    pub fn get(driver: Version) -> Result<&'static Self, BlasError> {
        static LIBRARY: OnceLock<Result<Library, BlasError>> = OnceLock::new();
        LIBRARY.get_or_init(|| Self::find(driver)).as_ref().map_err(Clone::clone)
    }

    /// The first library that can be used; if none can, why the first that is there cannot.
    fn find(driver: Version) -> Result<Self, BlasError> {
        let mut first = BlasError::NotFound;
        for path in candidates(driver) {
            match Self::load(path) {
                Ok(library) => return Ok(library),
                Err(error) if first == BlasError::NotFound => first = error,
                Err(_) => {}
            }
        }
        Err(first)
    }

    /// Loads a file. One that does not exist is [`BlasError::NotFound`].
    fn load(path: PathBuf) -> Result<Self, BlasError> {
        let by_name = path.parent() == Some(Path::new(""));
        if !by_name && !path.is_file() {
            return Err(BlasError::NotFound);
        }
        // SAFETY: the constructors of NVIDIA's library expect nothing of the process.
        let shared = match unsafe { Shared::new(&path) } {
            Ok(shared) => shared,
            // The loader does not tell a library that it did not find from one that lacks another.
            Err(_) if by_name => return Err(BlasError::NotFound),
            Err(error) => return Err(BlasError::Unusable { path, message: error.to_string() }),
        };
        let unusable = |error: libloading::Error| BlasError::Unusable { path: path.clone(), message: error.to_string() };
        let functions = Functions::load(&shared).map_err(unusable)?;
        // SAFETY: the function takes nothing and returns a size, in all versions.
        let version = unsafe { shared.get::<unsafe extern "C" fn() -> usize>("cublasLtGetVersion").map_err(unusable)?() };
        std::mem::forget(shared);
        Ok(Self { functions, version, path })
    }
}

/// Where the library may lie, in the order of trying: what the user names, what the system knows, the toolkit's usual folder, and Python
/// environments, an active one first. Folders that the environment gives relative to the current one are left out, as the files of others
/// may lie there.
fn candidates(driver: Version) -> Vec<PathBuf> {
    // A library of a newer CUDA than the driver's loads, and then fails.
    let versions = VERSIONS.into_iter().filter(|version| *version <= driver.major);
    let names: Vec<String> = versions.map(|version| format!("libcublasLt.so.{version}")).collect();
    let toolkits = std::env::var_os("CUDA_PATH").map(PathBuf::from).into_iter();
    let in_toolkit = |root: PathBuf| ["lib64", "lib"].map(|folder| root.join(folder));
    let named: Vec<PathBuf> = toolkits.flat_map(in_toolkit).collect();
    let usual: Vec<PathBuf> = cuda_path().into_iter().flat_map(in_toolkit).collect();
    let python: Vec<PathBuf> = python_prefixes().iter().flat_map(|prefix| wheel_folders(prefix)).collect();
    let files = |folders: &[PathBuf]| -> Vec<PathBuf> {
        folders
            .iter()
            .filter(|folder| folder.is_absolute())
            .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
            .collect()
    };
    let by_name = names.iter().map(PathBuf::from);
    files(&named)
        .into_iter()
        .chain(by_name)
        .chain(files(&usual))
        .chain(files(&python))
        .collect()
}

/// Roots of Python environments: the active one, those of the interpreters on the path, and that of the user.
fn python_prefixes() -> Vec<PathBuf> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .into_iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .filter(|folder| folder.join("python3").exists())
        .filter_map(|folder| folder.parent().map(Path::to_owned));
    let of_user = std::env::var_os("HOME").map(|home| Path::new(&home).join(".local"));
    active.chain(found).chain(of_user).collect()
}

/// The folders of an environment in which NVIDIA's wheels of CUDA 13 and 12 put the library.
fn wheel_folders(prefix: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(prefix.join("lib")) else {
        return Vec::new();
    };
    let mut pythons: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3")))
        .collect();
    pythons.sort_unstable();
    let packages = pythons
        .iter()
        .flat_map(|python| ["site-packages", "dist-packages"].map(|folder| python.join(folder)));
    packages
        .flat_map(|packages| ["nvidia/cu13/lib", "nvidia/cublas/lib"].map(|folder| packages.join(folder)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_are_looked_for_in_every_python() {
        let prefix = tempfile::tempdir().expect("a folder");
        for python in ["python3.11", "python3.12", "pkgconfig"] {
            std::fs::create_dir_all(prefix.path().join("lib").join(python)).expect("a folder");
        }
        let folders = wheel_folders(prefix.path());
        assert_eq!(folders.len(), 8);
        assert!(folders.contains(&prefix.path().join("lib/python3.12/site-packages/nvidia/cublas/lib")));
    }

    #[test]
    fn a_file_that_is_no_library_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = Library::load(file.path().to_owned()).expect_err("it is empty");
        assert!(matches!(&error, BlasError::Unusable { path, .. } if path == file.path()), "{error}");
        assert_eq!(Library::load("/nonexistent/libcublasLt.so.12".into()).expect_err("no file"), BlasError::NotFound);
    }
}
