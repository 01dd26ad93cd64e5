//! Where downloaded weights of published networks are kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variable that names the folder.
pub const VARIABLE: &str = "PIXGEN_CACHE";

/// The weights of EfficientNet-Lite0, as `pixgen-train data get efficientnet-lite0` makes them.
pub const EFFICIENTNET_LITE0: &str = "efficientnet-lite0.safetensors";

/// The path of a file in the cache: in `$PIXGEN_CACHE`, or in `pixgen` of the user's own cache folder, which is `$XDG_CACHE_HOME`,
/// `~/.cache`, or on Windows `%LOCALAPPDATA%`. None if no variable says where that is.
pub fn file(name: &str) -> Option<PathBuf> {
    Some(folder(|variable| std::env::var_os(variable))?.join(name))
}

/// The folder by these variables; the cache folder must be an absolute path, as the XDG specification asks.
fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || {
        let xdg = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let home = || {
            if cfg!(windows) {
                set("LOCALAPPDATA")
            } else {
                Some(set("HOME")?.join(".cache"))
            }
        };
        Some(xdg.or_else(home)?.join(Path::new("pixgen")))
    };
    set(VARIABLE).or_else(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Option<PathBuf> {
        folder(|name| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into()))
    }

    #[cfg(unix)]
    #[test]
    fn our_variable_then_xdg_then_home() {
        let all = [("PIXGEN_CACHE", "here"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(with(&all), Some("here".into()));
        assert_eq!(with(&all[1..]), Some("/x/pixgen".into()));
        assert_eq!(with(&all[2..]), Some("/h/.cache/pixgen".into()));
        assert_eq!(with(&[("PIXGEN_CACHE", ""), ("XDG_CACHE_HOME", "relative"), ("HOME", "/h")]), Some("/h/.cache/pixgen".into()));
        assert_eq!(with(&[]), None);
    }
}
