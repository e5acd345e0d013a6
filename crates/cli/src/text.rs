//! Text for people.

/// Rows as a table: columns as wide as their widest cell, two blanks apart, nothing at line ends.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let line: String = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// "1 node", "8 nodes".
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// "12 B", "3.4 MB": decimal, to three digits.
pub(crate) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    let mut units = ["B", "kB", "MB", "GB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    match unit {
        "B" => format!("{n} B"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_end_cleanly() {
        let rows = [["NODE", "ALSO"], ["manager1", ""], ["w", "cluster.gov"]]
            .map(|row| row.map(str::to_owned));
        assert_eq!(
            table(&rows),
            "NODE      ALSO\nmanager1\nw         cluster.gov\n"
        );
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(
            [count(0, "node"), count(1, "node"), count(2, "node")],
            ["0 nodes", "1 node", "2 nodes"]
        );
    }

    #[test]
    fn bytes_have_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (123_456, "123 kB"),
            (999_999, "1.0 MB"),
            (8_000_000_000, "8.0 GB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
    }
}
