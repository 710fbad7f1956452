//! The Kafka record batch v2 (placeholder until the codec lands).
