//! Who is let in: the checks of a request that need nothing but its head. Pure.

use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

use crate::problem::Problem;
use crate::routes::page;
use crate::server::App;
use crate::token::Token;

/// What a request has to show.
#[derive(Debug)]
pub(crate) struct Guard {
    token: Token,
    /// Host names with their port, in lower case.
    hosts: Vec<String>,
}

/// What answers without a token: the page, which holds no data, and whether we are well.
fn is_open(path: &str) -> bool {
    path == "/healthz" || page::has(path)
}

impl Guard {
    /// Lets in who names `address`, or one of the `names`, and shows the token.
    pub(crate) fn new(token: Token, address: SocketAddr, names: &[String]) -> Self {
        const HTTP_PORT: u16 = 80;
        let port = address.port();
        let own = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        // A console that was bound elsewhere on purpose is found under that address.
        let bound = match address.ip() {
            ip if ip.is_unspecified() || ip.is_loopback() => None,
            std::net::IpAddr::V4(ip) => Some(ip.to_string()),
            std::net::IpAddr::V6(ip) => Some(format!("[{ip}]")),
        };
        let names = names.iter().map(|name| name.to_ascii_lowercase());
        let mut hosts = Vec::new();
        for host in own.into_iter().chain(bound).chain(names) {
            hosts.push(format!("{host}:{port}"));
            if port == HTTP_PORT {
                hosts.push(host);
            }
        }
        Self { token, hosts }
    }

    /// Whether this request is let in.
    pub(crate) fn check(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        self.check_host(headers)?;
        self.check_origin(headers)?;
        let open = is_open(path) && matches!(*method, Method::GET | Method::HEAD);
        if open { Ok(()) } else { self.check_token(headers) }
    }

    /// A page of another site that has its name resolve to us (DNS rebinding) sends that name.
    fn check_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match only(headers, &header::HOST) {
            Some(host) if self.is_ours(host) => Ok(()),
            _ => Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "bad_host",
                "this console does not go by that name: see --allow-host",
            )),
        }
    }

    /// A browser says from which site a request comes.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if !headers.contains_key(header::ORIGIN) {
            return Ok(());
        }
        let origin = only(headers, &header::ORIGIN);
        match origin.and_then(|origin| origin.strip_prefix("http://")) {
            Some(host) if self.is_ours(host) => Ok(()),
            _ => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "bad_origin",
                "pages of other sites may not use this console",
            )),
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let unauthorized = |code, detail| Problem::new(StatusCode::UNAUTHORIZED, code, detail);
        let given = only(headers, &header::AUTHORIZATION).and_then(|given| {
            let (scheme, token) = given.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        match given {
            None => Err(unauthorized("no_token", "say `Authorization: Bearer` and the token")),
            Some(given) if self.token.is(given.as_bytes()) => Ok(()),
            Some(_) => Err(unauthorized("bad_token", "this is not the token of this start")),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))
    }
}

/// The value of a header that must be there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// What every answer says.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Nothing from elsewhere, nothing inline, and no text that becomes HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

/// Checks each request before anything else is done with it, and marks each answer.
pub(crate) async fn guarded(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let checked = app.guard.check(request.method(), request.uri().path(), request.headers());
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn guard() -> (Guard, String) {
        let token = Token::random().unwrap();
        let text = format!("Bearer {}", token.as_str());
        let names = ["Console.example".to_owned()];
        (Guard::new(token, "127.0.0.1:7766".parse().unwrap(), &names), text)
    }

    fn verdict(guard: &Guard, path: &str, headers: &[(HeaderName, &str)]) -> &'static str {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        guard.check(&Method::GET, path, &map).map_or_else(|problem| problem.code(), |()| "ok")
    }

    #[test]
    fn a_request_names_us_comes_from_us_and_has_the_token() {
        let (guard, token) = guard();
        let ours = (header::HOST, "127.0.0.1:7766");
        let with = (header::AUTHORIZATION, &*token);
        let cases: &[(&[(HeaderName, &str)], &str)] = &[
            (&[ours.clone(), with.clone()], "ok"),
            (&[(header::HOST, "LOCALHOST:7766"), with.clone()], "ok"),
            (&[(header::HOST, "[::1]:7766"), with.clone()], "ok"),
            (&[(header::HOST, "console.example:7766"), with.clone()], "ok"),
            (from_ref(&with), "bad_host"),
            (&[ours.clone(), ours.clone(), with.clone()], "bad_host"),
            (&[(header::HOST, "evil.example:7766"), with.clone()], "bad_host"),
            (&[(header::HOST, "localhost"), with.clone()], "bad_host"),
            (&[(header::HOST, "localhost:80"), with.clone()], "bad_host"),
            (&[(header::HOST, "localhost:7766.evil.example"), with.clone()], "bad_host"),
            (&[ours.clone(), with.clone(), (header::ORIGIN, "http://localhost:7766")], "ok"),
            (
                &[ours.clone(), with.clone(), (header::ORIGIN, "https://localhost:7766")],
                "bad_origin",
            ),
            (&[ours.clone(), with.clone(), (header::ORIGIN, "http://evil.example")], "bad_origin"),
            (&[ours.clone(), with.clone(), (header::ORIGIN, "null")], "bad_origin"),
            (&[ours.clone(), with.clone(), (header::ORIGIN, "")], "bad_origin"),
            (from_ref(&ours), "no_token"),
            (&[ours.clone(), (header::AUTHORIZATION, "Basic dTpw")], "no_token"),
            (&[ours.clone(), (header::COOKIE, &token)], "no_token"),
            (&[ours.clone(), (header::AUTHORIZATION, "Bearer 00")], "bad_token"),
            (&[ours.clone(), (header::AUTHORIZATION, "Bearer ")], "bad_token"),
            (&[ours.clone(), with.clone(), with.clone()], "no_token"),
        ];
        for (headers, expected) in cases {
            assert_eq!(verdict(&guard, "/api/tree", headers), *expected, "{headers:?}");
        }
    }

    #[test]
    fn only_the_page_and_the_health_answer_without_a_token() {
        let (guard, _) = guard();
        let ours = (header::HOST, "localhost:7766");
        for path in ["/", "/app.js", "/app.css", "/tree.js", "/healthz"] {
            assert_eq!(verdict(&guard, path, from_ref(&ours)), "ok");
            assert_eq!(verdict(&guard, path, &[]), "bad_host", "not under another name");
        }
        for path in [
            "/metrics",
            "/api/info",
            "/api/events",
            "//",
            "/app.js/",
            "/app.rs",
            "/healthz/x",
            "/API/tree",
        ] {
            assert_eq!(verdict(&guard, path, from_ref(&ours)), "no_token", "{path}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost:7766".parse().unwrap());
        assert!(guard.check(&Method::POST, "/", &headers).is_err());
    }

    #[test]
    fn a_console_that_was_bound_elsewhere_goes_by_that_address() {
        let at = |address: &str, host: &str| {
            let guard = Guard::new(Token::random().unwrap(), address.parse().unwrap(), &[]);
            verdict(&guard, "/", &[(header::HOST, host)])
        };
        assert_eq!(at("192.0.2.7:80", "192.0.2.7"), "ok");
        assert_eq!(at("192.0.2.7:8080", "192.0.2.7:8080"), "ok");
        assert_eq!(at("[2001:db8::1]:8080", "[2001:db8::1]:8080"), "ok");
        assert_eq!(at("0.0.0.0:8080", "192.0.2.7:8080"), "bad_host", "it is named by --allow-host");
        assert_eq!(at("127.0.0.1:80", "localhost"), "ok");
    }
}
