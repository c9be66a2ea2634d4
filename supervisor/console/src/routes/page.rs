//! The page: files that are part of the program, and hold no data.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! files {
    ($($path:literal, $kind:ident, $file:literal;)*) => {
        &[$(($path, $kind, include_str!(concat!("../../page/", $file)))),*]
    };
}

/// Each file: its path, its type, and its text.
const FILES: &[(&str, &str, &str)] = files! {
    "/", HTML, "index.html";
    "/app.css", STYLE, "app.css";
    "/app.js", SCRIPT, "app.js";
    "/actions.js", SCRIPT, "actions.js";
    "/api.js", SCRIPT, "api.js";
    "/attention.js", SCRIPT, "attention.js";
    "/dom.js", SCRIPT, "dom.js";
    "/facts.js", SCRIPT, "facts.js";
    "/history.js", SCRIPT, "history.js";
    "/lanemodel.js", SCRIPT, "lanemodel.js";
    "/lanes.js", SCRIPT, "lanes.js";
    "/log.js", SCRIPT, "log.js";
    "/model.js", SCRIPT, "model.js";
    "/ring.js", SCRIPT, "ring.js";
    "/sse.js", SCRIPT, "sse.js";
    "/stored.js", SCRIPT, "stored.js";
    "/text.js", SCRIPT, "text.js";
    "/thread.js", SCRIPT, "thread.js";
    "/timeline.js", SCRIPT, "timeline.js";
    "/tree.js", SCRIPT, "tree.js";
};

/// Whether `path` is a file of the page.
pub(crate) fn has(path: &str) -> bool {
    FILES.iter().any(|(file, ..)| *file == path)
}

/// The files, each under its path.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, &(path, kind, text)| {
        let answer = async move || ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text);
        router.route(path, get(answer))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/page");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| format!("/{}", file.unwrap().file_name().into_string().unwrap()))
            .collect();
        let served = FILES.iter().map(|(path, ..)| if *path == "/" { "/index.html" } else { path });
        assert_eq!(served.map(str::to_owned).collect::<BTreeSet<_>>(), there);
    }

    #[test]
    fn the_page_asks_for_nothing_from_elsewhere_and_has_nothing_inline() {
        for (path, kind, text) in FILES {
            for banned in
                ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("]
            {
                assert!(!text.contains(banned), "{path} ({kind}): {banned}");
            }
            assert!(!text.contains("style=") && !text.contains("onclick="), "{path}");
        }
    }
}
