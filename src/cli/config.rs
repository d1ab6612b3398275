//! Configuration of the daemon in layers: built-in values < file < environment < flags.
//!
//! Each layer says only what it wants to say; [`Layer::or`] puts one over another, and
//! [`Layer::resolve`] fills in the rest. Nothing here reads a file or the environment.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::Deserialize;

/// Prefix of environment variables; the rest is the key in capitals.
const ENVIRONMENT_PREFIX: &str = "DOORBUSTER_";

/// One layer of configuration: a file, the environment, or the flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Address to listen on, `HOST:PORT`.
    pub listen: Option<String>,
    /// Address that clients are told to connect to, `HOST:PORT`.
    pub advertised: Option<String>,
    /// Address of the HTTP door, `HOST:PORT`.
    pub http: Option<String>,
    /// Address of the RESP door, `HOST:PORT`.
    pub resp: Option<String>,
    /// Data folder.
    pub data_dir: Option<PathBuf>,
    /// Listening beyond this machine is intended.
    pub insecure: Option<bool>,
    /// Never use `io_uring`.
    pub plain_writes: Option<bool>,
    /// Create unknown topics when their metadata is asked for.
    pub auto_create_topics: Option<bool>,
    /// Partitions of topics whose creator did not say.
    pub default_partitions: Option<u32>,
    /// Wait of a new consumer group for more members, in milliseconds.
    pub group_initial_rebalance_delay_ms: Option<u64>,
    /// Most connections at once.
    pub connections_max: Option<usize>,
    /// Largest request frame, in bytes.
    pub frame_size_max_bytes: Option<usize>,
    /// Largest sum of records in one fetch response, in bytes.
    pub fetch_size_max_bytes: Option<usize>,
}

/// The whole configuration, every value decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Address to listen on, `HOST:PORT`.
    pub listen: String,
    /// Host and port that clients are told to connect to.
    pub advertised: Option<(String, u16)>,
    /// Address of the HTTP door, if it is to be opened.
    pub http: Option<String>,
    /// Address of the RESP door, if it is to be opened.
    pub resp: Option<String>,
    /// Data folder.
    pub data_dir: PathBuf,
    /// Listening beyond this machine is intended.
    pub insecure: bool,
    /// Never use `io_uring`.
    pub plain_writes: bool,
    /// Create unknown topics when their metadata is asked for.
    pub auto_create_topics: Option<bool>,
    /// Partitions of topics whose creator did not say.
    pub default_partitions: Option<u32>,
    /// Wait of a new consumer group for more members.
    pub group_initial_rebalance_delay: Option<Duration>,
    /// Most connections at once.
    pub connections_max: Option<usize>,
    /// Largest request frame, in bytes.
    pub frame_size_max_bytes: Option<usize>,
    /// Largest sum of records in one fetch response, in bytes.
    pub fetch_size_max_bytes: Option<usize>,
}

impl Layer {
    /// The layer of a TOML file; `name` is for messages.
    ///
    /// # Errors
    /// For bad TOML, an unknown key or a value of the wrong kind: with file, line and key.
    pub fn from_toml(name: &str, text: &str) -> anyhow::Result<Layer> {
        toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let key = error.span().and_then(|span| text.get(span)).unwrap_or_default();
            anyhow!(
                "{name}:{line}: {}, at {:?}",
                error.message(),
                key.lines().next().unwrap_or_default()
            )
        })
    }

    /// The layer of environment variables; those of other programs are passed over.
    ///
    /// # Errors
    /// For a value of the wrong kind, with the variable's name.
    pub fn from_environment(variables: impl IntoIterator<Item = (String, String)>) -> anyhow::Result<Layer> {
        let mut layer = Layer::default();
        for (name, value) in variables {
            let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            layer
                .set(&key.to_ascii_lowercase(), value)
                .with_context(|| format!("environment variable {name} is not understood"))?;
        }
        Ok(layer)
    }

    fn set(&mut self, key: &str, value: String) -> anyhow::Result<()> {
        match key {
            "listen" => self.listen = Some(value),
            "advertised" => self.advertised = Some(value),
            "http" => self.http = Some(value),
            "resp" => self.resp = Some(value),
            "data_dir" => self.data_dir = Some(value.into()),
            "insecure" => self.insecure = Some(value.parse()?),
            "plain_writes" => self.plain_writes = Some(value.parse()?),
            "auto_create_topics" => self.auto_create_topics = Some(value.parse()?),
            "default_partitions" => self.default_partitions = Some(value.parse()?),
            "group_initial_rebalance_delay_ms" => {
                self.group_initial_rebalance_delay_ms = Some(value.parse()?);
            }
            "connections_max" => self.connections_max = Some(value.parse()?),
            "frame_size_max_bytes" => self.frame_size_max_bytes = Some(value.parse()?),
            "fetch_size_max_bytes" => self.fetch_size_max_bytes = Some(value.parse()?),
            // Names the file, not a value in it.
            "config" => {}
            // Service discovery puts variables of the same prefix into containers.
            _ => tracing::warn!(key, "environment variable with an unknown key is ignored"),
        }
        Ok(())
    }

    /// This layer where it says something, `below` where it does not.
    #[must_use]
    pub fn or(self, below: Layer) -> Layer {
        Layer {
            listen: self.listen.or(below.listen),
            advertised: self.advertised.or(below.advertised),
            http: self.http.or(below.http),
            resp: self.resp.or(below.resp),
            data_dir: self.data_dir.or(below.data_dir),
            insecure: self.insecure.or(below.insecure),
            plain_writes: self.plain_writes.or(below.plain_writes),
            auto_create_topics: self.auto_create_topics.or(below.auto_create_topics),
            default_partitions: self.default_partitions.or(below.default_partitions),
            group_initial_rebalance_delay_ms: self
                .group_initial_rebalance_delay_ms
                .or(below.group_initial_rebalance_delay_ms),
            connections_max: self.connections_max.or(below.connections_max),
            frame_size_max_bytes: self.frame_size_max_bytes.or(below.frame_size_max_bytes),
            fetch_size_max_bytes: self.fetch_size_max_bytes.or(below.fetch_size_max_bytes),
        }
    }

    /// Fills in what no layer says.
    ///
    /// # Errors
    /// When a value makes no sense.
    pub fn resolve(self) -> anyhow::Result<ServeConfig> {
        let advertised = self
            .advertised
            .as_deref()
            .map(host_and_port)
            .transpose()
            .context("advertised")?;
        let listen = self.listen.unwrap_or_else(|| "127.0.0.1:9092".to_owned());
        host_and_port(&listen).context("listen")?;
        for (key, address) in [("http", &self.http), ("resp", &self.resp)] {
            if let Some(address) = address {
                host_and_port(address).context(key)?;
            }
        }
        for (key, value) in [
            (
                "default_partitions",
                self.default_partitions.map(|value| value as usize),
            ),
            ("connections_max", self.connections_max),
            ("frame_size_max_bytes", self.frame_size_max_bytes),
            ("fetch_size_max_bytes", self.fetch_size_max_bytes),
        ] {
            anyhow::ensure!(value != Some(0), "{key} must be at least 1");
        }
        Ok(ServeConfig {
            listen,
            advertised,
            http: self.http,
            resp: self.resp,
            data_dir: self.data_dir.unwrap_or_else(|| "./doorbuster-data".into()),
            insecure: self.insecure.unwrap_or(false),
            plain_writes: self.plain_writes.unwrap_or(false),
            auto_create_topics: self.auto_create_topics,
            default_partitions: self.default_partitions,
            group_initial_rebalance_delay: self.group_initial_rebalance_delay_ms.map(Duration::from_millis),
            connections_max: self.connections_max,
            frame_size_max_bytes: self.frame_size_max_bytes,
            fetch_size_max_bytes: self.fetch_size_max_bytes,
        })
    }
}

fn host_and_port(address: &str) -> anyhow::Result<(String, u16)> {
    let (host, port) = address
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .ok_or_else(|| anyhow!("address {address:?} is not HOST:PORT"))?;
    let port = port
        .parse()
        .map_err(|_| anyhow!("address {address:?} has no port from 0 to 65535"))?;
    Ok((
        host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn flags_win_over_environment_over_file_over_built_in() {
        // (file, environment, flag, expected)
        let cases = [
            (None, None, None, "127.0.0.1:9092"),
            (Some("a:1"), None, None, "a:1"),
            (None, Some("b:2"), None, "b:2"),
            (None, None, Some("c:3"), "c:3"),
            (Some("a:1"), Some("b:2"), None, "b:2"),
            (Some("a:1"), None, Some("c:3"), "c:3"),
            (None, Some("b:2"), Some("c:3"), "c:3"),
            (Some("a:1"), Some("b:2"), Some("c:3"), "c:3"),
        ];
        for (file, environment, flag, expected) in cases {
            let file = file.map_or(Ok(Layer::default()), |listen| {
                Layer::from_toml("f.toml", &format!("listen = {listen:?}"))
            });
            let pairs: Vec<_> = environment
                .map(|value| ("DOORBUSTER_LISTEN", value))
                .into_iter()
                .collect();
            let environment = Layer::from_environment(variables(&pairs)).unwrap();
            let flags = Layer {
                listen: flag.map(str::to_owned),
                ..Layer::default()
            };
            let config = flags.or(environment).or(file.unwrap()).resolve().unwrap();
            assert_eq!(config.listen, expected, "{pairs:?} {flag:?}");
        }
    }

    #[test]
    fn every_key_means_the_same_in_the_file_and_in_the_environment() {
        let keys = [
            ("listen", "127.0.0.1:1", true),
            ("advertised", "shop:2", true),
            ("http", "127.0.0.1:3", true),
            ("resp", "127.0.0.1:4", true),
            ("data_dir", "/data", true),
            ("insecure", "true", false),
            ("plain_writes", "true", false),
            ("auto_create_topics", "false", false),
            ("default_partitions", "3", false),
            ("group_initial_rebalance_delay_ms", "0", false),
            ("connections_max", "4", false),
            ("frame_size_max_bytes", "5", false),
            ("fetch_size_max_bytes", "6", false),
        ];
        let mut file = String::new();
        let mut environment = Vec::new();
        for (key, value, quoted) in keys {
            let written = if quoted {
                format!("{value:?}")
            } else {
                value.to_owned()
            };
            writeln!(file, "{key} = {written}").unwrap();
            environment.push((format!("DOORBUSTER_{}", key.to_uppercase()), value.to_owned()));
        }
        let from_file = Layer::from_toml("f.toml", &file).unwrap();
        assert_eq!(from_file, Layer::from_environment(environment).unwrap());
        assert_eq!(Layer::default().or(from_file.clone()), from_file);
        let config = from_file.resolve().unwrap();
        assert_eq!(config.advertised, Some(("shop".to_owned(), 2)));
        assert_eq!(config.group_initial_rebalance_delay, Some(Duration::ZERO));
        assert_eq!((config.insecure, config.plain_writes), (true, true));
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &[&str]) {
        let error = format!("{:#}", Layer::from_toml("shop.toml", text).unwrap_err());
        for part in expected {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
    }

    #[test]
    fn mistakes_in_the_file_are_named_with_file_line_and_key() {
        check_refused(
            "listen = \"a:1\"\n\nlisten_adress = \"b:2\"\n",
            &["shop.toml:3", "listen_adress"],
        );
        check_refused("# hello\nconnections_max = \"many\"\n", &["shop.toml:2", "many"]);
        check_refused("listen = \n", &["shop.toml:1"]);
        check_refused("[broker]\nlisten = \"a:1\"\n", &["shop.toml:1", "broker"]);
        check_refused("default_partitions = -1\n", &["shop.toml:1"]);
    }

    #[test]
    fn mistakes_in_the_environment_are_named() {
        let wrong = variables(&[("DOORBUSTER_CONNECTIONS_MAX", "many")]);
        let error = Layer::from_environment(wrong).unwrap_err();
        assert!(format!("{error:#}").contains("DOORBUSTER_CONNECTIONS_MAX"));
        let foreign = variables(&[("DOORBUSTER_PORT", "tcp://10.0.0.1:80"), ("HOME", "/root")]);
        assert_eq!(Layer::from_environment(foreign).unwrap(), Layer::default());
    }

    #[test]
    fn senseless_values_are_refused() {
        for listen in ["9092", ":9092", "host:", "host:70000", "host:kafka"] {
            let layer = Layer {
                listen: Some(listen.to_owned()),
                ..Layer::default()
            };
            assert!(layer.resolve().is_err(), "{listen}");
        }
        assert!(
            Layer {
                connections_max: Some(0),
                ..Layer::default()
            }
            .resolve()
            .is_err()
        );
        assert_eq!(host_and_port("[::1]:9092").unwrap(), ("::1".to_owned(), 9092));
    }
}
