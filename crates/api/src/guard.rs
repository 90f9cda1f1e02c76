//! Who may ask: everybody on this machine, elsewhere who has the token.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::refusal::Refusal;

/// A secret that requests must carry as `Authorization: Bearer TOKEN`. It is never shown.
#[derive(Clone)]
pub struct Token(String);

/// A text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading the token: one line of at least {MIN_CHARACTERS} printable characters was expected, {0} was found")]
pub struct TokenError(String);

/// Fewer characters are guessed.
const MIN_CHARACTERS: usize = 16;

impl Token {
    /// The token of a text, such as a file's; blanks around it do not count.
    ///
    /// # Errors
    /// When it is short, or has several lines or characters that a header cannot carry.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let token = text.trim();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError("another text".to_owned()));
        }
        if token.len() < MIN_CHARACTERS {
            return Err(TokenError(format!("one of {} characters", token.len())));
        }
        Ok(Self(token.to_owned()))
    }

    /// Whether a header carries the token. How long it takes does not depend on where they differ.
    fn is_in(&self, header: Option<&[u8]>) -> bool {
        let given = header.and_then(|header| header.strip_prefix(b"Bearer ")).unwrap_or_default();
        bool::from(self.0.as_bytes().ct_eq(given))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Token(…)")
    }
}

/// Lets a request through that carries the token. `/health` needs none.
pub(crate) async fn check(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes().to_vec());
    let may = match &token {
        Some(token) if request.uri().path() != "/health" => token.is_in(header.as_deref()),
        _ => true,
    };
    if may {
        return next.run(request).await;
    }
    let message = "asking: a token was expected (Authorization: Bearer TOKEN), none or another was found".to_owned();
    Refusal { status: StatusCode::UNAUTHORIZED, message }.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_whole_and_never_shown() {
        let token = Token::new(" 0123456789abcdef\n").expect("a token");
        assert!(token.is_in(Some(b"Bearer 0123456789abcdef")));
        for wrong in [&b"Bearer 0123456789abcde"[..], b"Bearer 0123456789abcdeg", b"0123456789abcdef", b"Bearer "] {
            assert!(!token.is_in(Some(wrong)));
        }
        assert!(!token.is_in(None));
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert!(Token::new("short").is_err() && Token::new("two lines of\ntext are none").is_err());
    }
}
