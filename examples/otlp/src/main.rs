//! See the library's documentation.

fn main() {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.unwrap_or_else(|| "http://127.0.0.1:4318".to_owned());
    match coppicer_otlp_example::serve_one_request(&endpoint) {
        Ok(answer) => println!("{answer}\nthe spans are at {endpoint}"),
        Err(error) => println!("no collector took the spans: {error}"),
    }
}
