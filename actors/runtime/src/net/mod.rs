//! Non-blocking sockets for agents: connect, HTTP/1.1 exchange, WebSocket client. Polled, never waited for.

pub mod http;
pub mod stamps;
pub mod stream;
pub mod tcp;
pub mod uring;
pub mod websocket;
