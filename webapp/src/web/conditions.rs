//! Whether a request's conditions hold (RFC 9110, section 13).

use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};

/// What tells one representation from another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validators<'a> {
    /// The entity tag with its quotes. It is a strong one.
    pub(super) etag: &'a str,
    /// In whole seconds, as a header tells it.
    pub(super) modified: SystemTime,
}

/// What to do with a GET or a HEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What it asks for.
    Proceed,
    /// The client has it already: 304.
    NotModified,
    /// The client wants another one than there is: 412.
    Failed,
}

/// Judges a GET or a HEAD, in the order of section 13.2.2.
pub(super) fn judge(headers: &HeaderMap, current: Validators<'_>) -> Verdict {
    if headers.contains_key(IF_MATCH) {
        if !matches(headers, IF_MATCH, current.etag, Comparison::Strong) {
            return Verdict::Failed;
        }
    } else if let Some(date) = date(headers, IF_UNMODIFIED_SINCE)
        && current.modified > date
    {
        return Verdict::Failed;
    }
    let unchanged = if headers.contains_key(IF_NONE_MATCH) {
        matches(headers, IF_NONE_MATCH, current.etag, Comparison::Weak)
    } else {
        date(headers, IF_MODIFIED_SINCE).is_some_and(|date| current.modified <= date)
    };
    if unchanged {
        Verdict::NotModified
    } else {
        Verdict::Proceed
    }
}

/// Whether `Range` is to be heeded: what the client has a part of must be what there is now.
pub(super) fn range_applies(headers: &HeaderMap, current: Validators<'_>) -> bool {
    let mut fields = headers.get_all(IF_RANGE).iter();
    let Some(field) = fields.next() else {
        return true;
    };
    if fields.next().is_some() {
        return false;
    }
    let Ok(field) = field.to_str() else {
        return false;
    };
    let field = field.trim();
    if field.starts_with('"') {
        return field == current.etag;
    }
    // A date must be the very one: an earlier one may be of other content in the same second.
    httpdate::parse_http_date(field).is_ok_and(|date| date == current.modified)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags has this one. Of a list that is not understood, what follows the
/// fault is not heeded.
fn matches(headers: &HeaderMap, name: HeaderName, etag: &str, comparison: Comparison) -> bool {
    headers.get_all(name).iter().any(|field| {
        field
            .to_str()
            .is_ok_and(|list| list.trim() == "*" || has(list, etag, comparison))
    })
}

fn has(mut list: &str, etag: &str, comparison: Comparison) -> bool {
    loop {
        list = list.trim_start_matches([' ', '\t', ',']);
        let (weak, rest) = match list.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, list),
        };
        // A tag may hold a comma: it ends with its quote.
        let Some(end) = rest.strip_prefix('"').and_then(|rest| rest.find('"')) else {
            return false;
        };
        let (tag, after) = rest.split_at(end + 2);
        if tag == etag && (!weak || comparison == Comparison::Weak) {
            return true;
        }
        list = after;
    }
}

/// A date that is not understood, or given twice, is no condition.
fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let mut fields = headers.get_all(name).iter();
    let date = httpdate::parse_http_date(fields.next()?.to_str().ok()?).ok()?;
    fields.next().is_none().then_some(date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use std::time::Duration;

    const ETAG: &str = "\"a,b\"";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn current() -> Validators<'static> {
        Validators {
            etag: ETAG,
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777),
        }
    }

    fn headers(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_table_of_conditions() {
        use Verdict::{Failed, NotModified, Proceed};
        for (fields, expected) in [
            (vec![], Proceed),
            (vec![(IF_NONE_MATCH, ETAG)], NotModified),
            (vec![(IF_NONE_MATCH, "W/\"a,b\"")], NotModified),
            (vec![(IF_NONE_MATCH, "\"x\" , \"a,b\"")], NotModified),
            (
                vec![(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, ETAG)],
                NotModified,
            ),
            (vec![(IF_NONE_MATCH, "*")], NotModified),
            (vec![(IF_NONE_MATCH, "\"a\", \"b\"")], Proceed),
            (vec![(IF_NONE_MATCH, "a,b")], Proceed),
            (vec![(IF_MATCH, ETAG)], Proceed),
            (vec![(IF_MATCH, "*")], Proceed),
            (vec![(IF_MATCH, "W/\"a,b\"")], Failed),
            (vec![(IF_MATCH, "\"x\"")], Failed),
            (vec![(IF_MATCH, "")], Failed),
            (vec![(IF_MODIFIED_SINCE, THEN)], NotModified),
            (vec![(IF_MODIFIED_SINCE, AFTER)], NotModified),
            (vec![(IF_MODIFIED_SINCE, BEFORE)], Proceed),
            (vec![(IF_MODIFIED_SINCE, "yesterday")], Proceed),
            (
                vec![(IF_MODIFIED_SINCE, THEN), (IF_MODIFIED_SINCE, THEN)],
                Proceed,
            ),
            (vec![(IF_UNMODIFIED_SINCE, BEFORE)], Failed),
            (vec![(IF_UNMODIFIED_SINCE, THEN)], Proceed),
            // A tag outweighs a date.
            (
                vec![(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, AFTER)],
                Proceed,
            ),
            (
                vec![(IF_MATCH, ETAG), (IF_UNMODIFIED_SINCE, BEFORE)],
                Proceed,
            ),
            (vec![(IF_MATCH, ETAG), (IF_NONE_MATCH, ETAG)], NotModified),
        ] {
            assert_eq!(judge(&headers(&fields), current()), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_range_applies_only_to_what_the_client_has_a_part_of() {
        for (fields, expected) in [
            (vec![], true),
            (vec![(IF_RANGE, ETAG)], true),
            (vec![(IF_RANGE, "\"x\"")], false),
            (vec![(IF_RANGE, "W/\"a,b\"")], false),
            (vec![(IF_RANGE, THEN)], true),
            (vec![(IF_RANGE, AFTER)], false),
            (vec![(IF_RANGE, BEFORE)], false),
            (vec![(IF_RANGE, "")], false),
            (vec![(IF_RANGE, ETAG), (IF_RANGE, ETAG)], false),
        ] {
            assert_eq!(
                range_applies(&headers(&fields), current()),
                expected,
                "{fields:?}"
            );
        }
    }
}
