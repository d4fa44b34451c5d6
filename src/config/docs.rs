//! Generates docs/CONFIGURATION.md from the tables by which the configuration is read.

use std::fmt::Write;

use super::connection_keys::{FTP_KEYS, LOCAL_KEYS};
use super::environment::variable;
use super::feeds::FEED_KEYS;
use super::key::{ConfigKey, KeyDefault};
use super::kind::KeyKind;
use super::properties::{JAVA, REFUSED};
use super::rclone_keys::{HarmlessValues, RCLONE_ONLY_KEYS};
use super::settings::SETTINGS;
use super::tunnel::FRP_KEYS;

/// The text of docs/CONFIGURATION.md.
#[must_use]
pub fn configuration_md() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("\n## config.yaml\n\n| Key | Default | Value | Meaning |\n|---|---|---|---|\n");
    for key in SETTINGS {
        row(&mut out, key);
    }
    out.push_str("\nThe variable of a key, for each of them:\n\n| Key | Variable |\n|---|---|\n");
    for key in SETTINGS {
        let _ = writeln!(out, "| `{}` | `{}` |", key.path, variable(key.path));
    }
    out.push_str(PROPERTIES);
    for (names, reason) in REFUSED {
        let _ = writeln!(out, "| {} | {reason} |", listed(names));
    }
    out.push_str(JAVA_PROPERTIES);
    for (names, here) in JAVA {
        let _ = writeln!(out, "| {} | {here} |", listed(names));
    }
    out.push_str(FEEDS);
    for key in FEED_KEYS {
        row(&mut out, key);
    }
    out.push_str(CONNECTIONS);
    for key in FTP_KEYS {
        connection_row(&mut out, key);
    }
    out.push_str(LOCAL_SECTION);
    for key in LOCAL_KEYS {
        connection_row(&mut out, key);
    }
    out.push_str(FRP_SECTION);
    for key in FRP_KEYS {
        connection_row(&mut out, key);
    }
    out.push_str(FOREIGN_KEYS);
    for key in RCLONE_ONLY_KEYS {
        let harmless = match key.harmless {
            HarmlessValues::Any => "any".to_owned(),
            HarmlessValues::Only(values) => listed(values),
        };
        let _ = writeln!(out, "| `{}` | {harmless} | {} |", key.name, key.note);
    }
    out
}

fn row<T>(out: &mut String, key: &ConfigKey<T>) {
    let _ = writeln!(out, "| `{}` | {} | {} | {} |", key.path, default(key), takes(key), cell(key.doc));
}

fn connection_row<T>(out: &mut String, key: &ConfigKey<T>) {
    let rclones = if key.is_rclones { "yes" } else { "" };
    let (default, takes) = (default(key), takes(key));
    let _ = writeln!(out, "| `{}` | {default} | {takes} | {rclones} | {} |", key.path, cell(key.doc));
}

fn default<T>(key: &ConfigKey<T>) -> String {
    match key.default {
        KeyDefault::Required => "required".to_owned(),
        KeyDefault::Is(text) => format!("`{text}`"),
        KeyDefault::Described(what) => what.to_owned(),
    }
}

fn takes<T>(key: &ConfigKey<T>) -> String {
    match key.kind {
        KeyKind::Choice(names) => listed(names),
        kind => kind.describe(),
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from the tables of keys in src/config. To update it:
     UPDATE_GENERATED=1 cargo test --test config -->

`ftp-pooler run` reads two files: `config.yaml` and `connections.ini`. The first one is what `--config` names; else
`config/config.yaml` in the working directory if that exists, else `/etc/ftp-pooler/config.yaml`, which the packages install. The
second one is what `--connections` names, else it is next to the first one. All commands use the same paths. In increasing order
of priority: the defaults below, the files, the environment. `ftp-pooler check` prints the effective configuration, without the secrets.

All errors in both files and the environment are reported at once, a line each: `file:line:`, the key, and
what was expected; then the exit code is 78 and nothing has been started.

**What is reloaded while a pod runs**: connections.ini, the files that its keys name (`pass_file`, `tls_ca`, `token_file` …), that of
`api.token_file`, and `feeds` in config.yaml. They are checked every `reload.every`, and at once on SIGHUP; a file with errors
changes nothing. Everything else in config.yaml and the environment, including connections' variables, is read at the start: a change there needs a
restart, and SIGHUP logs the names of such keys. The rest is in [OPERATIONS.md](OPERATIONS.md#changing-connections).

- **Durations** are written as in rclone: `300ms`, `1m30s`, `2h`. A plain number is seconds.
- **Sizes** are written as in rclone: `64Mi`, `1.5Gi`. A plain number is bytes.
- **Booleans** are `true` or `false`.

## The environment

`FTP_POOLER__` and the key, with `__` for each dot: `FTP_POOLER__POOL__MAX_SESSIONS_PER_POD=50`. Names are not
case-sensitive. Items of a list are separated by commas: `FTP_POOLER__KAFKA__BOOTSTRAP_SERVERS=a:9092,b:9092`.

- **librdkafka's properties**: `_` replaces the dot: `FTP_POOLER__KAFKA__PROPERTIES__SASL_PASSWORD` is
  `sasl.password`.
- **Connections**: `FTP_POOLER__CONNECTIONS__REMOTE_FTP__PASS` is `pass` of `[remote-ftp]`. In a variable
  every character of the name that is neither a letter nor a digit is `_`. A name without a section defines a
  new connection, in lower case and with `-` for `_`: `FTP_POOLER__CONNECTIONS__NEW_FTP__TYPE=ftp` and so on
  define `new-ftp`. A password from the environment overrides the file's, in whichever of the three ways
  either is given.
- A variable with this prefix that is not a key is an error. Those with a single underscore, such as
  `FTP_POOLER_PORT`, are Kubernetes' and are ignored.
";

const PROPERTIES: &str = "
### kafka.properties

Any property of librdkafka, under its own name, for producers and consumers: SASL and TLS need nothing
else. All values are treated as secrets and are never shown.

```yaml
kafka:
  properties:
    security.protocol: sasl_ssl
    sasl.mechanism: SCRAM-SHA-512
    sasl.username: ftp-pooler
```

Built in are the SASL mechanisms PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512, TLS, and the codecs gzip, snappy, lz4 and zstd
(`compression.type`; records of producers are read with any of them). GSSAPI (Kerberos) and OAUTHBEARER (OIDC) are not, and
are refused: as librdkafka defaults to GSSAPI, `sasl.mechanism` must be set.

These would break delivery and must not be set:

| Property | Why |
|---|---|
";

const JAVA_PROPERTIES: &str = "
Properties of Java clients that librdkafka does not know are refused with their name here:

| Property of Java clients | Here |
|---|---|
| `ssl.endpoint.identification.algorithm`, empty | `none` |
";

const FEEDS: &str = "
### feeds

A list: directories whose new files become tasks automatically ([FEEDS.md](FEEDS.md)). It is read again while a pod runs; the
environment has no variables for it.

```yaml
feeds:
  - name: invoices
    from: remote-ftp:/outbox/
    to: local:/in/invoices/
    every: 30s
    include: ['*.csv']
    options:
      after: delete
```

| Key | Default | Value | Meaning |
|---|---|---|---|
";

const CONNECTIONS: &str = "
## connections.ini

A section for each connection; tasks name it in `connection_id`. Values are raw, as in rclone.conf: a value
is everything after the first `=`, without leading and trailing blanks, and nothing in it is an escape, a quote
or a comment. Lines that begin with `#` or `;` are comments.

### type = ftp

| Key | Default | Value | rclone's | Meaning |
|---|---|---|---|---|
";

const LOCAL_SECTION: &str = "
### type = local

| Key | Default | Value | rclone's | Meaning |
|---|---|---|---|---|
";

const FRP_SECTION: &str = "
### type = frp

A tunnel of [frp](https://github.com/fatedier/frp), which `ftp` sections name in `via`: the route to FTP servers without a
public address. [tunnels/README.md](tunnels/README.md#example-an-ftp-server-behind-nat) sets up both ends.

| Key | Default | Value | rclone's | Meaning |
|---|---|---|---|---|
";

const FOREIGN_KEYS: &str = "
### Other keys of rclone's

They may stay in a section with `type = ftp` if they change nothing here; any other value is an error,
so that no one relies on an effect that it does not have. An FTP remote of rclone.conf can be used as it is,
except for `pass`, which has to be renamed to `obscured_pass`; `ftp-pooler import-rclone` does that.

| Key | May be | Because |
|---|---|---|
";
