//! Which texts in a user's message are put there by the host (REF 2.3).

use serde_json::value::RawValue;

use super::classify::decode;

/// Whether a text part, still as raw JSON, is one of the host's fragments.
pub(super) fn is_contextual(raw: &RawValue) -> bool {
    may_be_fragment(raw.get()) && decode(raw).is_some_and(|text| is_fragment(&text))
}

/// A look at the first characters, so that ordinary texts are not decoded. Says yes in doubt.
fn may_be_fragment(quoted: &str) -> bool {
    let mut bytes = quoted.bytes().skip(1);
    loop {
        match bytes.next() {
            Some(b' ') => {}
            Some(b'\\') => match bytes.next() {
                Some(b'n' | b'r' | b't' | b'f') => {}
                // An escaped first character: `\u003c`, or space of a rarer kind.
                _ => return true,
            },
            Some(byte) => return matches!(byte, b'<' | b'#' | b'W' | b'w') || !byte.is_ascii(),
            None => return false,
        }
    }
}

/// Elements whose start and end tags make a text contextual, whatever stands between.
const ELEMENTS: [&str; 6] = [
    "environment_context",
    "skill",
    "user_shell_command",
    "turn_aborted",
    "subagent_notification",
    "goal_context",
];

/// Whether a text is one of the host's fragments.
pub(super) fn is_fragment(text: &str) -> bool {
    let text = text.trim();
    match text.as_bytes().first() {
        Some(b'#') => wraps(text, "# AGENTS.md instructions for ", "</INSTRUCTIONS>"),
        Some(b'W' | b'w') => is_old_warning(text),
        Some(b'<') => is_element(text),
        _ => false,
    }
}

/// ASCII case does not matter; the two markers must not overlap.
fn wraps(text: &str, start: &str, end: &str) -> bool {
    let text = text.as_bytes();
    text.len() >= start.len() + end.len()
        && text[..start.len()].eq_ignore_ascii_case(start.as_bytes())
        && text[text.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
}

fn is_element(text: &str) -> bool {
    let known = ELEMENTS.iter().any(|name| {
        let closing = format!("</{name}>");
        wraps(text, &format!("<{name}>"), &closing)
    });
    known || is_keyed_element(text)
}

/// The elements whose start tag varies. Case matters here.
fn is_keyed_element(text: &str) -> bool {
    let Some((tag, rest)) = text[1..].split_once('>') else {
        return false;
    };
    let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
    let closed = rest
        .strip_suffix('>')
        .and_then(|rest| rest.strip_suffix(name))
        .is_some_and(|rest| rest.ends_with("</"));
    if !closed {
        return false;
    }
    let attribute = |key: &str| {
        let (_, value) = attributes.split_once(key)?;
        value.strip_prefix("=\"")?.split_once('"').map(|(value, _)| value)
    };
    if name.len() > "external_".len() && name.starts_with("external_") {
        return attributes.is_empty();
    }
    if name.ends_with("internal_context") {
        return attribute("source").is_some_and(is_source);
    }
    // A hook's prompt counts if it says which run of the hook it is from.
    name == "hook_prompt" && attribute("run_id").is_some_and(|run| !run.trim().is_empty())
}

fn is_source(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Three warnings that old versions wrote as plain text.
fn is_old_warning(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("warning:") else {
        return false;
    };
    let has = |words: &[&str]| words.iter().all(|word| rest.contains(word));
    has(&["unified exec process"])
        || has(&["apply_patch was requested via"])
        || has(&["flagged", "cyber activity"])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_fragment_rule() {
        for yes in [
            "# AGENTS.md instructions for /srv/demo\n\n<INSTRUCTIONS>\nx\n</INSTRUCTIONS>",
            "# agents.md INSTRUCTIONS for x</instructions>",
            "<environment_context>x</environment_context>",
            "  \n<ENVIRONMENT_CONTEXT>x</environment_context>\n",
            "<skill>\n<name>a</name></skill>",
            "<user_shell_command>ls</user_shell_command>",
            "<turn_aborted></turn_aborted>",
            "<subagent_notification>{}</subagent_notification>",
            "<external_jira>x</external_jira>",
            "<acme_internal_context source=\"goal_2\">x</acme_internal_context>",
            "<goal_context>x</goal_context>",
            "Warning: The maximum number of unified exec processes you can keep open is 60.",
            "warning: apply_patch was requested via shell. Use the apply_patch tool instead.",
            "Warning: Your account was flagged for potentially high-risk cyber activity.",
            "<hook_prompt hook_run_id=\"r1\">x</hook_prompt>",
        ] {
            assert!(is_fragment(yes), "{yes}");
        }
        for no in [
            "",
            "hello",
            "<environment_context>",
            "<environment_context>x</environment_context> and more",
            "see <skill>x</skill>",
            "<project_context>x</project_context>",
            "<external_a>x</external_b>",
            "<external_a>x</EXTERNAL_a>",
            "<external_>x</external_>",
            "<acme_internal_context source=\"Goal\">x</acme_internal_context>",
            "<acme_internal_context>x</acme_internal_context>",
            "<hook_prompt hook_run_id=\"\">x</hook_prompt>",
            "Warning: it will rain",
            "<turn_aborted>",
            "# AGENTS.md",
            "<",
            "<>",
        ] {
            assert!(!is_fragment(no), "{no}");
        }
    }

    proptest! {
        /// What we write of a text has the class that a reader of the line finds.
        #[test]
        fn a_text_is_one_for_who_writes_it_as_for_who_reads_it(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    " ", "\n", "\u{b}", "\u{3000}", "\\", "\"", "x", "<", ">", "<skill>", "</skill>",
                    "<goal_context>", "</GOAL_CONTEXT>", "# AGENTS.md instructions for ",
                    "</INSTRUCTIONS>", "Warning: ", "unified exec process", "<external_a>",
                    "</external_a>", "<x_internal_context source=\"a\">", "</x_internal_context>",
                ]),
                0..5,
            ),
        ) {
            let record = crate::history::Line::user_item(1, &pieces.concat());
            prop_assert_eq!(record.class, crate::history::classify(&record.raw).class);
        }
    }

    #[test]
    fn the_first_look_never_hides_a_fragment() {
        for text in [
            "<skill>x</skill>",
            "\n\t <skill>x</skill>",
            "\u{3000}<skill>x</skill>",
            "\u{b}<skill>x</skill>",
        ] {
            let plain = serde_json::value::to_raw_value(text).unwrap();
            assert!(is_contextual(&plain), "{text:?}");
        }
        let escaped: Box<RawValue> = serde_json::from_str(r#""\u003cskill>x</skill>""#).unwrap();
        assert!(is_contextual(&escaped));
    }
}
