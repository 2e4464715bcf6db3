//! `application/x-www-form-urlencoded`, read strictly.

/// The most fields that a form of ours could have, with room to spare.
const MAX_FIELDS: usize = 16;

/// The fields of a form or a query, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form(Vec<(String, String)>);

/// Not a form: a broken escape, not UTF-8, a field given twice, or far too many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Form {
    pub(crate) fn parse(encoded: &[u8]) -> Result<Self, Malformed> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for pair in encoded.split(|&byte| byte == b'&') {
            if pair.is_empty() {
                continue;
            }
            let mut halves = pair.splitn(2, |&byte| byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            if fields.len() == MAX_FIELDS || fields.iter().any(|(known, _)| *known == name) {
                return Err(Malformed);
            }
            fields.push((name, value));
        }
        Ok(Self(fields))
    }

    /// A field's value; empty when it was not sent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(known, _)| known == name)?;
        Some(&field.1)
    }
}

fn decode(encoded: &[u8]) -> Result<String, Malformed> {
    let mut bytes = encoded.iter();
    let mut decoded = Vec::with_capacity(encoded.len());
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = digit(bytes.next())?;
                let low = digit(bytes.next())?;
                high << 4 | low
            }
            plain => plain,
        });
    }
    String::from_utf8(decoded).map_err(|_| Malformed)
}

fn digit(byte: Option<&u8>) -> Result<u8, Malformed> {
    let value = char::from(*byte.ok_or(Malformed)?).to_digit(16);
    value.and_then(|v| u8::try_from(v).ok()).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded() {
        let form = Form::parse(b"text=a+b%26c%3D%e2%82%ac&key=1&empty=&bare&&x=a=b").unwrap();
        assert_eq!(form.get("text"), "a b&c=\u{20ac}");
        assert_eq!(form.get("key"), "1");
        assert_eq!(form.find("empty"), Some(""));
        assert_eq!(form.find("bare"), Some(""));
        assert_eq!(form.find("missing"), None);
        assert_eq!(form.get("missing"), "");
        assert_eq!(form.get("x"), "a=b");
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for bad in [
            &b"text=%"[..],
            b"text=%4",
            b"text=%zz",
            b"text=%+1",
            b"text=%ff",
            b"text=\xff",
            b"%c3%28=x",
            b"text=%ed%a0%80",
            b"a=1&a=2",
            b"a=1&%61=2",
        ] {
            assert_eq!(Form::parse(bad), Err(Malformed), "{bad:?}");
        }
        let many: Vec<_> = (0..17).map(|n| format!("f{n}=")).collect();
        assert_eq!(Form::parse(many.join("&").as_bytes()), Err(Malformed));
        assert!(Form::parse(many[..16].join("&").as_bytes()).is_ok());
    }
}
