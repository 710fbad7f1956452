//! A stream of answers that is worked on by whoever reads it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures::Stream;
use tokio::sync::mpsc;
use tonic::Status;

/// Answers, and the work that gives them. It goes on while somebody asks for the next answer, so it
/// stands still while the peer's window is full, and is dropped with the stream.
///
/// A task of its own would be woken first, and then wake the one that reads: tokio runs so many
/// tasks that woke each other on one thread, and hands the next to another thread, which then waits
/// for the connection that the first one still holds.
pub(super) struct Driven<M> {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    answers: mpsc::Receiver<Result<M, Status>>,
}

impl<M> Driven<M> {
    /// `work` sends its answers to the other end of `answers`, and holds the only sender.
    pub fn new(
        work: impl Future<Output = ()> + Send + 'static,
        answers: mpsc::Receiver<Result<M, Status>>,
    ) -> Self {
        Self { work: Some(Box::pin(work)), answers }
    }
}

impl<M> Stream for Driven<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            // Taking one wakes the work, where it waits for room. The channel wakes nobody: only
            // the work sends, and this task would be woken by what it does itself.
            if let Ok(answer) = self.answers.try_recv() {
                return Poll::Ready(Some(answer));
            }
            let Some(work) = &mut self.work else { return Poll::Ready(None) };
            if work.as_mut().poll(cx).is_ready() {
                self.work = None;
            } else if self.answers.is_empty() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Wake, Waker},
    };

    use futures::{FutureExt as _, StreamExt as _};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_works_as_far_as_is_asked_for_and_ends_behind_the_last_answer() {
        let (out, answers) = mpsc::channel(1);
        let (begun, mut steps) = mpsc::unbounded_channel();
        let mut stream = Driven::new(
            async move {
                for n in 0..3 {
                    begun.send(n).unwrap();
                    out.send(Ok(n)).await.unwrap();
                }
            },
            answers,
        );
        assert!(steps.try_recv().is_err(), "nobody has asked yet");
        for n in 0..3 {
            assert_eq!(stream.next().now_or_never().flatten().unwrap().unwrap(), n);
        }
        assert!(stream.next().now_or_never().is_some_and(|end| end.is_none()));
        assert_eq!(std::iter::from_fn(|| steps.try_recv().ok()).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn it_wakes_its_reader_when_there_is_more_to_do_and_not_for_what_it_did() {
        let (out, answers) = mpsc::channel(2);
        let (next, mut steps) = mpsc::channel(1);
        let mut stream = Driven::new(
            async move {
                while let Some(n) = steps.recv().await {
                    out.send(Ok(n)).await.unwrap();
                }
            },
            answers,
        );
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut cx = Context::from_waker(&waker);
        assert!(stream.poll_next_unpin(&mut cx).is_pending());
        next.try_send(1).unwrap();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        let Poll::Ready(Some(Ok(1))) = stream.poll_next_unpin(&mut cx) else { panic!() };
        assert!(stream.poll_next_unpin(&mut cx).is_pending());
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        drop(next);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
        assert!(matches!(stream.poll_next_unpin(&mut cx), Poll::Ready(None)));
        assert!(matches!(stream.poll_next_unpin(&mut cx), Poll::Ready(None)), "and stays so");
    }

    #[test]
    fn it_ends_with_its_reader() {
        let (out, answers) = mpsc::channel::<Result<(), _>>(1);
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        let work = async move {
            let _both = (out, held);
            std::future::pending().await
        };
        let mut stream = Driven::new(work, answers);
        assert!(stream.next().now_or_never().is_none());
        drop(stream);
        assert!(dropped.now_or_never().is_some_and(|gone| gone.is_err()));
    }
}
