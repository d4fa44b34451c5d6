//! Where config.yaml is looked for where nobody says: in the working directory, then where the packages install it.

use std::io;
use std::path::{Path, PathBuf};

/// Beneath the working directory: what `ftp-pooler init` writes, and the image has.
pub(super) const HERE: &str = "config/config.yaml";
/// What the packages install.
pub(super) const INSTALLED: &str = "/etc/ftp-pooler/config.yaml";

/// The first of these files that is there; the first of all where none is. One that cannot be looked at counts as there,
/// so that reading it says why.
pub(super) fn first_there(places: &[&str]) -> Option<PathBuf> {
    let is_missing =
        |place: &str| Path::new(place).metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    places.iter().find(|place| !is_missing(place)).or_else(|| places.first()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_file_that_is_there_is_taken_and_one_that_cannot_be_looked_at_is() {
        let dir = std::env::temp_dir().join(format!("ftp-pooler-search-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let [here, installed] =
            ["here.yaml", "installed.yaml"].map(|name| dir.join(name).display().to_string());
        let found = |places: &[&str]| first_there(places).unwrap().display().to_string();
        let both: &[&str] = &[&here, &installed];
        assert_eq!(found(both), here, "none: the first is named");
        fs::write(&installed, "").unwrap();
        assert_eq!(found(both), installed);
        fs::write(&here, "").unwrap();
        assert_eq!(found(both), here);
        let beneath_a_file = format!("{installed}/config.yaml");
        assert_eq!(found(&[&beneath_a_file, &here]), beneath_a_file);
        fs::remove_dir_all(&dir).unwrap();
    }
}
