//! A connection that is counted: when its first byte came, and an end where an answer's head has none.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What was counted, seen from beside the connection.
#[derive(Debug)]
pub(in crate::net) struct Meter {
    first: Mutex<Option<Instant>>,
    /// How many bytes may come before the reader counts for itself.
    limit: usize,
    /// How many bytes may still come.
    left: AtomicUsize,
    over: AtomicBool,
}

impl Meter {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Meter { first: Mutex::default(), limit, left: AtomicUsize::new(limit), over: AtomicBool::new(false) })
    }

    /// Counts from the start, for one more answer.
    pub(super) fn arm(&self) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.left.store(self.limit, Ordering::Relaxed);
    }

    /// When the first byte came.
    pub(in crate::net) fn first(&self) -> Option<Instant> {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on the reader counts for itself.
    pub(super) fn open(&self) {
        self.left.store(usize::MAX, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// The counted connection.
pub(super) struct Metered<S> {
    pub(super) inner: S,
    pub(super) meter: Arc<Meter>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let came = buf.filled().len() - before;
        if came > 0 {
            self.meter.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
            let left = self.meter.left.load(Ordering::Relaxed);
            if came > left {
                self.meter.over.store(true, Ordering::Relaxed);
                return Poll::Ready(Err(io::Error::other("more bytes than an answer's head may have")));
            }
            if left != usize::MAX {
                self.meter.left.store(left - came, Ordering::Relaxed);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
