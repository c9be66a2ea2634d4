//! The actors of Coppicer.

mod history;

pub use history::{
    ABORTED_OUTPUT, Classified, History, HistoryBase, HistoryMode, Iter as HistoryIter,
    LINE_DEPTH_MAX, Line, LineFlaw, Mail, MarkerKind, MetaError, OpenCall, SessionMeta,
    SessionSource, ThreadSpawn, TokenCounts, classify, classify_item, close_open_calls, open_calls,
    record_of,
};
