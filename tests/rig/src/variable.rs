use std::str::FromStr;

/// A number from the environment, or the usual one: for the long form of a test, and for the same run again.
#[track_caller]
pub fn number<N: FromStr>(variable: &str, usual: N) -> N {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
        Err(_) => usual,
    }
}
