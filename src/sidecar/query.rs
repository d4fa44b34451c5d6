//! The query parameters of a request.

use percent_encoding::percent_decode_str;

use crate::insight::{MAX_FAILURES, MAX_TRANSFERS, TransferQuery};

/// The default number of transfers.
const TRANSFERS: usize = 100;
/// The default number of failures.
const FAILURES: usize = 50;

/// `limit`, `offset` and `connection`; other names are ignored.
///
/// # Errors
/// The parameter, and what would be right.
pub(super) fn transfers(query: Option<&str>) -> Result<TransferQuery, String> {
    Ok(TransferQuery {
        limit: number(query, "limit", MAX_TRANSFERS)?.unwrap_or(TRANSFERS),
        offset: number(query, "offset", usize::MAX)?.unwrap_or_default(),
        connection: text(query, "connection")?,
    })
}

/// The number of failures.
///
/// # Errors
/// Those of [`transfers`].
pub(super) fn failures(query: Option<&str>) -> Result<usize, String> {
    Ok(number(query, "limit", MAX_FAILURES)?.unwrap_or(FAILURES))
}

fn number(query: Option<&str>, name: &str, most: usize) -> Result<Option<usize>, String> {
    let Some(text) = text(query, name)? else { return Ok(None) };
    match text.parse() {
        Ok(number) if number <= most => Ok(Some(number)),
        _ if most == usize::MAX => Err(format!("{name}: expected a whole number, 0 or more")),
        _ => Err(format!("{name}: expected a whole number from 0 to {most}")),
    }
}

/// The parameter's value, decoded like a form's; the first one if there are several.
fn text(query: Option<&str>, name: &str) -> Result<Option<String>, String> {
    let parameters = query.unwrap_or_default().split('&');
    let mut values = parameters.filter_map(|parameter| match parameter.split_once('=') {
        Some((found, value)) => (found == name).then_some(value),
        None => (parameter == name).then_some(""),
    });
    let Some(value) = values.next() else { return Ok(None) };
    let value = value.replace('+', " ");
    match percent_decode_str(&value).decode_utf8() {
        Ok(text) => Ok(Some(text.into_owned())),
        Err(_) => Err(format!("{name}: what it decodes to is no UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_its_default() {
        let all = TransferQuery { limit: 100, offset: 0, connection: None };
        assert_eq!(transfers(None), Ok(all.clone()));
        assert_eq!(transfers(Some("")), Ok(all.clone()));
        assert_eq!(transfers(Some("limits=3&x")), Ok(all));
        assert_eq!(failures(Some("limit=7")), Ok(7));
        assert_eq!(failures(None), Ok(50));
    }

    #[test]
    fn a_connections_name_is_decoded() {
        let found = transfers(Some("offset=20&connection=far%20%C3%A4+x&limit=1000")).unwrap();
        assert_eq!(found, TransferQuery { limit: 1_000, offset: 20, connection: Some("far ä x".to_owned()) });
    }

    #[test]
    fn what_is_wrong_is_named() {
        let problem = |query| transfers(Some(query)).unwrap_err();
        assert_eq!(problem("limit=1001"), "limit: expected a whole number from 0 to 1000");
        assert_eq!(problem("limit="), "limit: expected a whole number from 0 to 1000");
        assert_eq!(problem("limit"), "limit: expected a whole number from 0 to 1000");
        assert_eq!(problem("offset=-1"), "offset: expected a whole number, 0 or more");
        assert_eq!(problem("offset=99999999999999999999999"), "offset: expected a whole number, 0 or more");
        assert_eq!(problem("connection=%FF"), "connection: what it decodes to is no UTF-8");
        assert_eq!(failures(Some("limit=201")).unwrap_err(), "limit: expected a whole number from 0 to 200");
    }
}
