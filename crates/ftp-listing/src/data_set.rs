//! Names of data sets (z/OS): `'USER1.DATA.SET1'`, `DATA.PDS(MEMBER1)`. They contain no slashes, and their qualifiers
//! have rules that no temp name satisfies.

/// Whether a name starts and ends with a quote, which makes it independent of the current prefix.
#[must_use]
pub fn is_quoted(path: &str) -> bool {
    path.len() > 2 && path.starts_with('\'') && path.ends_with('\'') && !path.contains('/')
}

/// The path of an entry beneath a quoted prefix (`'USER1.'`) or a partitioned data set (`'USER1.JCL'`), with the names
/// of its listing joined by slashes; `None` if `directory` is not quoted.
#[must_use]
pub fn beneath(directory: &str, relative: &str) -> Option<String> {
    let mut inside = directory.strip_prefix('\'')?.strip_suffix('\'')?.to_owned();
    for name in relative.split('/') {
        if inside.ends_with('.') {
            inside.push_str(name);
        } else {
            inside = format!("{inside}({name})");
        }
    }
    Some(format!("'{inside}'"))
}

/// Converts a task's path to z/OS syntax: a member is named in parentheses. Absolute paths are those of files.
#[must_use]
pub fn of_path(path: &str) -> String {
    match path.split_once('/') {
        Some((data_set, member)) if !data_set.is_empty() && !member.contains('/') => {
            format!("{data_set}({member})")
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_names_are_not_joined_with_slashes() {
        for (directory, relative, whole) in [
            ("'USER1.'", "JCL", Some("'USER1.JCL'")),
            ("'USER1.'", "JCL/PAYROLL", Some("'USER1.JCL(PAYROLL)'")),
            ("'USER1.JCL'", "PAYROLL", Some("'USER1.JCL(PAYROLL)'")),
            ("/u/user1", "a", None),
            ("USER1", "a", None),
        ] {
            assert_eq!(beneath(directory, relative).as_deref(), whole, "{directory} {relative}");
        }
    }

    #[test]
    fn a_member_is_named_in_parentheses() {
        for (path, there) in [
            ("JCL/PAYROLL", "JCL(PAYROLL)"),
            ("JCL(PAYROLL)", "JCL(PAYROLL)"),
            ("'USER1.DATA'", "'USER1.DATA'"),
            ("/u/user1/f", "/u/user1/f"),
            ("/f", "/f"),
        ] {
            assert_eq!(of_path(path), there);
        }
    }
}
