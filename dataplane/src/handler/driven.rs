//! A stream of answers that is worked on by whoever reads it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures::Stream;
use tokio::sync::mpsc;
use tonic::Status;

/// Answers, and the work that gives them. It goes on while somebody asks for the next answer, and
/// is dropped with the stream.
///
/// A task of its own would be woken first, and then wake the one that reads: tokio runs so many
/// tasks that woke each other on one thread, and hands the next to another thread, which then waits
/// for the connection that the first one still holds.
pub(super) struct Driven<M> {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    answers: mpsc::Receiver<Result<M, Status>>,
}

impl<M> Driven<M> {
    /// `work` sends its answers to the other end of `answers`.
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
        if let Some(work) = &mut self.work
            && work.as_mut().poll(cx).is_ready()
        {
            self.work = None;
        }
        // Where the work waits for room, taking an answer wakes it.
        self.answers.poll_recv(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};

    use super::*;

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
