//! Content negotiation: which of the forms on offer a client prefers (RFC 9110, 12.5.1). Pure.

/// A form on offer: a media type and its `version`, where it has one.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// `text/plain`.
    pub media: &'static str,
    /// Of the format.
    pub version: Option<&'static str>,
}

/// Index of the offer that the client likes best; the first one where it likes several alike, or says
/// nothing. `None` when it takes none of them.
pub fn choose(accept: &str, offers: &[Offer]) -> Option<usize> {
    if accept.trim().is_empty() {
        return Some(0);
    }
    let ranges: Vec<Range<'_>> = accept.split(',').filter_map(Range::parse).collect();
    let mut best: Option<(usize, u32)> = None;
    for (index, offer) in offers.iter().enumerate() {
        // The most specific range that matches tells how much it is liked.
        let matching = ranges.iter().filter_map(|range| {
            let specific = range.matches(offer)?;
            Some((specific, range.quality))
        });
        let quality = matching
            .max_by_key(|(specific, _)| *specific)
            .map_or(0, |(_, quality)| quality);
        if quality > 0 && best.is_none_or(|(_, most)| quality > most) {
            best = Some((index, quality));
        }
    }
    best.map(|(index, _)| index)
}

/// One part of the header.
struct Range<'a> {
    media: &'a str,
    version: Option<&'a str>,
    /// In thousandths.
    quality: u32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().filter(|media| media.contains('/'))?;
        let mut range = Self {
            media,
            version: None,
            quality: 1000,
        };
        for part in parts {
            let Some((name, value)) = part.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("q") {
                let quality: f32 = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
                range.quality = (quality * 1000.0) as u32;
            } else if name.trim().eq_ignore_ascii_case("version") {
                range.version = Some(value);
            }
        }
        Some(range)
    }

    /// How specifically it names the offer.
    fn matches(&self, offer: &Offer) -> Option<u8> {
        let (family, _) = offer.media.split_once('/')?;
        let (of_family, name) = self.media.split_once('/')?;
        if self.media.eq_ignore_ascii_case(offer.media) {
            return match (self.version, offer.version) {
                (None, _) => Some(2),
                (Some(asked), Some(version)) if asked == version => Some(3),
                _ => None,
            };
        }
        match (of_family, name) {
            ("*", "*") => Some(0),
            (_, "*") if of_family.eq_ignore_ascii_case(family) => Some(1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn offer(media: &'static str, version: Option<&'static str>) -> Offer {
        Offer { media, version }
    }

    const METRICS: [Offer; 3] = [
        offer("text/plain", Some("0.0.4")),
        offer("application/openmetrics-text", Some("1.0.0")),
        offer("application/openmetrics-text", Some("0.0.1")),
    ];
    const REPORT: [Offer; 3] = [
        offer("text/markdown", None),
        offer("text/html", None),
        offer("application/json", None),
    ];

    #[test]
    fn the_client_s_favourite_is_chosen() {
        #[rustfmt::skip]
        let table = [
            ("", Some(0)),
            ("*/*", Some(0)),
            ("text/plain", Some(0)),
            // Prometheus 2.53 and 3.
            ("application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", Some(1)),
            ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", Some(1)),
            ("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.8", Some(0)),
            ("application/openmetrics-text; version=0.0.1", Some(2)),
            ("application/openmetrics-text", Some(1)),
            ("application/openmetrics-text;version=7", None),
            ("text/plain;version=1.0.0", None),
            ("text/plain;q=0, */*", Some(1)),
            ("text/*;q=0.1, application/*", Some(1)),
            ("image/png", None),
            ("nonsense", None),
            ("text/plain;q=2", None),
        ];
        for (accept, expected) in table {
            assert_eq!(choose(accept, &METRICS), expected, "{accept}");
        }
    }

    #[test]
    fn a_browser_gets_a_page_and_a_script_gets_json() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(choose(browser, &REPORT), Some(1));
        assert_eq!(choose("application/json", &REPORT), Some(2));
        assert_eq!(choose("*/*", &REPORT), Some(0));
    }
}
