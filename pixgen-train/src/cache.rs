//! Where files lie that commands fetch once and share between runs.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// Names the folder itself.
pub const OVERRIDE: &str = "PIXGEN_CACHE";

/// `$PIXGEN_CACHE`, or `pixgen` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`).
pub fn folder() -> PathBuf {
    folder_of(|name| env::var_os(name))
}

fn folder_of(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(OVERRIDE).unwrap_or_else(|| {
        let user = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let home = || set("HOME").or_else(|| set("USERPROFILE")).map(|home| home.join(".cache"));
        user.or_else(home).unwrap_or_else(env::temp_dir).join("pixgen")
    })
}

/// The weights of EfficientNet-Lite0, if they were fetched.
pub fn efficientnet_lite0() -> PathBuf {
    folder().join("efficientnet-lite0.safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_override_comes_first_and_relative_folders_do_not_count() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, OsString)> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).into())).collect();
            folder_of(move |name| pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
        };
        assert_eq!(of(&[("PIXGEN_CACHE", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")]), PathBuf::from("/a"));
        assert_eq!(of(&[("PIXGEN_CACHE", ""), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")]), PathBuf::from("/b/pixgen"));
        assert_eq!(of(&[("XDG_CACHE_HOME", "b"), ("HOME", "/c")]), PathBuf::from("/c/.cache/pixgen"));
        assert!(of(&[]).ends_with("pixgen"));
    }
}
