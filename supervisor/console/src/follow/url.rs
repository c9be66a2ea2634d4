//! The address of a console, as it was printed.

use std::fmt;
use std::str::FromStr;

/// Where a console is, and its token.
#[derive(Clone, PartialEq, Eq)]
pub struct ConsoleUrl {
    /// Host and port, as the request names them.
    pub(super) authority: String,
    pub(super) token: String,
}

/// A text that is no address of a console.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsoleUrlError {
    /// It is another kind of address.
    #[error(
        "expected an address such as http://127.0.0.1:7766/#token=…, as the console printed it"
    )]
    NotAConsole,
    /// It has no token.
    #[error(
        "the address has no token: take the whole of it, with `#token=…`, or name the token's file"
    )]
    NoToken,
}

impl ConsoleUrl {
    /// Reads an address; a `token` from elsewhere goes before the one in it.
    ///
    /// # Errors
    /// A [`ConsoleUrlError`].
    pub fn parse(text: &str, token: Option<&str>) -> Result<Self, ConsoleUrlError> {
        let rest = text.strip_prefix("http://").ok_or(ConsoleUrlError::NotAConsole)?;
        let (place, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let authority = place.strip_suffix('/').unwrap_or(place);
        let sound = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        if authority.is_empty() || !authority.chars().all(sound) {
            return Err(ConsoleUrlError::NotAConsole);
        }
        let in_url = fragment.split('&').find_map(|part| part.strip_prefix("token="));
        let token = token.or(in_url).map(str::trim).unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConsoleUrlError::NoToken);
        }
        Ok(Self { authority: authority.to_owned(), token: token.to_owned() })
    }

    /// Where to connect: the port that is not said is that of HTTP.
    pub(super) fn address(&self) -> String {
        let has_port = self.authority.rsplit_once(':').is_some_and(|(host, port)| {
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty()
        });
        if has_port { self.authority.clone() } else { format!("{}:80", self.authority) }
    }
}

impl FromStr for ConsoleUrl {
    type Err = ConsoleUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, None)
    }
}

/// Without the token.
impl fmt::Display for ConsoleUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}/", self.authority)
    }
}

impl fmt::Debug for ConsoleUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsoleUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_was_printed() {
        let url: ConsoleUrl = "http://127.0.0.1:7766/#token=ab12".parse().unwrap();
        assert_eq!((&*url.authority, &*url.token), ("127.0.0.1:7766", "ab12"));
        assert_eq!(
            (url.to_string(), url.address()),
            ("http://127.0.0.1:7766/".into(), "127.0.0.1:7766".into())
        );
        assert!(!format!("{url:?}").contains("ab12"), "it is in no log");
        let other = ConsoleUrl::parse("http://[::1]", Some("cd\n")).unwrap();
        assert_eq!((&*other.token, &*other.address()), ("cd", "[::1]:80"));
        let host: ConsoleUrl = "http://localhost:80#x=1&token=ef".parse().unwrap();
        assert_eq!((&*host.token, &*host.address()), ("ef", "localhost:80"));
    }

    #[test]
    fn another_text_is_refused() {
        for text in [
            "",
            "https://localhost/#token=a",
            "localhost:1",
            "http://",
            "http:///#token=a",
            "http://a/b#token=c",
            "http://a b/#token=c",
            "http://u@h/#token=c",
            "http://h\r\n/#token=c",
        ] {
            assert_eq!(text.parse::<ConsoleUrl>(), Err(ConsoleUrlError::NotAConsole), "{text:?}");
        }
        for text in [
            "http://h:1/",
            "http://h:1/#token=",
            "http://h:1/#token=a%20b c",
            "http://h:1/?token=a",
        ] {
            assert!(text.parse::<ConsoleUrl>().is_err(), "{text:?}");
        }
    }
}
