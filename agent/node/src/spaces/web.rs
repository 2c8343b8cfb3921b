//! UI spaces: their files for browsers, and the bridge between a page and the paths of its space.
//!
//! A page is seen only with a *ticket*, which `zctl spaces open` makes: it names the space and the hour until which it
//! is good, and every zhost of the cluster can tell a true one. Browsers keep it as a cookie.
//!
//! Messages to a UI space go to every browser that has its page open; the last one of each path is kept for those that
//! come later. Below the page's own address, `-/events` streams them, and what is posted to `-/paths/<path>` is sent
//! along that path. Everything else is a file of the package.

use crate::{effects::Effects, facts::Facts, output::Output, spaces::messages::Messages};
use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use zhost_base::{Batch, Name, SpaceKey, SpaceKind, ZhostId, limits};
use zhost_exchange::Undelivered;
use zhost_gossip::row::{Row, RowKey};
use zhost_mex::Assets;
use zhost_web::{
    BODY_MAX_BYTES, Method, Request, Response, Status, event, media_type, stream_head, text_event,
};

/// How long a ticket is good.
pub(crate) const TICKET_TTL: Duration = Duration::from_secs(12 * 60 * 60);
/// Pages open at once on one zhost; further ones are told to try again.
const STREAMS_MAX: usize = 32;
/// Messages of a page that are on their way along one path; more are told to try again. All of them together fit the
/// path's window.
const OUTSTANDING_MAX: u32 = limits::PATH_WINDOW_BYTES / BODY_MAX_BYTES as u32;

/// A connection of a browser, as the shell counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
pub struct WebId(pub u64);

/// A request of a browser.
#[derive(Clone, Copy)]
pub(crate) struct Visit<'a> {
    pub id: WebId,
    pub request: &'a Request,
    /// Whether it shows a ticket that is good now, for the space it asks for.
    pub is_admitted: bool,
}

/// The page of a UI space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// Where the zhost that runs it answers browsers.
    pub at: SocketAddr,
    /// Of this topology.
    pub topology: Name,
    /// This space.
    pub space: Name,
}

impl Page {
    /// Where a browser finds it with this ticket.
    pub(crate) fn address(&self, ticket: &str) -> String {
        let Self { at, topology, space } = self;
        format!("http://{at}/{topology}/{space}/?{}={ticket}", zhost_web::TICKET_PARAMETER)
    }
}

/// A UI space that runs here.
#[derive(Debug)]
struct Site {
    assets: Arc<Assets>,
    /// The last message of each path, as an event.
    last: LiteMap<Name, Vec<u8>>,
}

/// The UI spaces that run here, and who looks at them.
#[derive(Debug, Default)]
pub(crate) struct Web {
    sites: LiteMap<SpaceKey, Site>,
    streams: LiteMap<WebId, SpaceKey>,
}

impl Web {
    /// What is shown here is to be told anew: pages lose their streams, and look for them again.
    pub fn begin_again(&mut self, effects: &mut Effects) {
        self.sites.clear();
        for (id, _) in std::mem::take(&mut self.streams) {
            effects.output(Output::Web { id, bytes: Vec::new(), content: Arc::default(), is_last: true });
        }
    }

    /// A browser is gone.
    pub fn handle_left(&mut self, id: WebId) {
        self.streams.remove(&id);
    }

    /// Whether this UI space runs here.
    pub fn serves(&self, key: &SpaceKey) -> bool {
        self.sites.contains_key(key)
    }
}

/// Where a request points: `/<topology>/<space>/<rest>`.
pub(crate) struct Place<'a> {
    pub topology: &'a str,
    pub space: &'a str,
    rest: Option<&'a str>,
}

impl<'a> Place<'a> {
    pub fn of(path: &'a str) -> Option<Self> {
        let (topology, below) = path.strip_prefix('/')?.split_once('/')?;
        let (space, rest) = match below.split_once('/') {
            Some((space, rest)) => (space, Some(rest)),
            None => (below, None),
        };
        (!space.is_empty()).then_some(Self { topology, space, rest })
    }

    fn root(&self) -> String {
        format!("/{}/{}/", self.topology, self.space)
    }
}

impl Facts {
    fn web_addr_of(&self, zhost: ZhostId) -> Option<SocketAddr> {
        match self.registry.row(zhost, &RowKey::Profile)? {
            Row::Profile(profile) => self.completed(zhost, profile.web_addr?),
            _ => None,
        }
    }
}

impl Web {
    /// The page of a UI space that runs here, which answers browsers at `web_addr`, if it does.
    pub fn page(&self, facts: &Facts, web_addr: Option<SocketAddr>, key: &SpaceKey) -> Result<Page, String> {
        let spec = facts.spec_of(key).ok_or("its topology is gone")?;
        if spec.space(&key.space).is_none_or(|space| space.kind != SpaceKind::Ui) {
            return Err(format!("space {} is no UI space: there is nothing to see", key.space));
        }
        if !self.serves(key) {
            return Err("the space does not run at present; see `zctl topo status`".into());
        }
        let at = web_addr.ok_or("the zhost that runs it answers no browsers")?;
        let at = facts.completed(facts.id, at).ok_or("the zhost that runs it has no network")?;
        Ok(Page { at, topology: spec.name.clone(), space: key.space.clone() })
    }

    /// A browser asks.
    pub fn handle_visit(
        &mut self,
        facts: &Facts,
        messages: &Messages,
        visit: Visit<'_>,
        effects: &mut Effects,
    ) {
        if let Some(response) = self.answer(facts, messages, visit, effects) {
            let (bytes, content) = response.into_parts(visit.request.method != Method::Head);
            effects.output(Output::Web { id: visit.id, bytes, content, is_last: true });
        }
    }

    /// The answer, if it is one: to some a stream is opened.
    fn answer(
        &mut self,
        facts: &Facts,
        messages: &Messages,
        Visit { id, request, is_admitted }: Visit<'_>,
        effects: &mut Effects,
    ) -> Option<Response> {
        let refuse = |status, text: &str| Some(Response::sentence(status, text));
        const NO_TICKET: &str =
            "This address needs a ticket: ask an operator for one (zctl spaces open SPACE).";
        let Some(place) = Place::of(&request.path) else { return refuse(Status::Forbidden, NO_TICKET) };
        let Some(ticket) = request.ticket().filter(|_| is_admitted) else {
            return refuse(Status::Forbidden, NO_TICKET);
        };
        let root = place.root();
        let is_asked = request.method != Method::Post;
        if is_asked && (request.ticket_given.is_some() || place.rest.is_none()) {
            let clean = if place.rest.is_none() { &root } else { &request.path };
            let response = Response::new(Status::SeeOther).location(clean);
            return Some(response.keep_ticket(&root, ticket, TICKET_TTL.as_secs()));
        }
        let Ok(key) = facts.resolve_space(&format!("{}/{}", place.topology, place.space)) else {
            return refuse(
                Status::NotFound,
                "This zhost knows of no such space; if it is new, try again in a moment.",
            );
        };
        let Some(site) = self.sites.get(&key) else {
            let elsewhere = facts.host_of(&key).filter(|host| *host != facts.id);
            return match elsewhere.and_then(|host| facts.web_addr_of(host)) {
                Some(addr) => {
                    let address =
                        format!("http://{addr}{}?{}={ticket}", request.path, zhost_web::TICKET_PARAMETER);
                    Some(Response::new(Status::TemporaryRedirect).location(&address))
                }
                None => {
                    refuse(Status::Unavailable, "The space does not run at present; try again in a moment.")
                }
            };
        };
        let rest = place.rest.unwrap_or_default();
        match (request.method, rest) {
            (Method::Get, "-/events") if self.streams.len() >= STREAMS_MAX => {
                refuse(Status::Unavailable, "Too many pages are open; try again when one is closed.")
            }
            (Method::Get, "-/events") => {
                let mut bytes = stream_head();
                site.last.values().for_each(|event| bytes.extend_from_slice(event));
                self.streams.insert(id, key);
                effects.output(Output::Web { id, bytes, content: Arc::default(), is_last: false });
                None
            }
            (Method::Post, _) if !request.is_same_origin => {
                refuse(Status::Forbidden, "Only the page of this space may send its messages.")
            }
            (Method::Post, rest) => match rest.strip_prefix("-/paths/") {
                Some(path) => Some(post(facts, messages, &key, (path, &request.body), effects)),
                None => refuse(Status::MethodNotAllowed, "Messages are posted to -/paths/<path>."),
            },
            (_, file) => Some(serve(site, &root, file, request)),
        }
    }

    /// A UI space has its files.
    pub fn open_site(&mut self, key: SpaceKey, assets: Arc<Assets>) {
        self.sites.insert(key, Site { assets, last: LiteMap::new() });
    }

    /// A UI space ends: its pages lose their streams, and look for it again.
    pub fn close_site(&mut self, key: &SpaceKey, effects: &mut Effects) {
        if self.sites.remove(key).is_none() {
            return;
        }
        for id in self.viewers(key) {
            self.streams.remove(&id);
            effects.output(Output::Web { id, bytes: Vec::new(), content: Arc::default(), is_last: true });
        }
    }

    fn viewers(&self, key: &SpaceKey) -> Vec<WebId> {
        self.streams.iter().filter(|(_, shown)| *shown == key).map(|(id, _)| *id).collect()
    }

    /// Messages for a UI space.
    pub fn show(&mut self, key: &SpaceKey, path: &Name, payloads: &Batch, effects: &mut Effects) {
        let viewers = self.viewers(key);
        if !viewers.is_empty() {
            let events: Vec<Vec<u8>> = payloads.iter().map(|payload| event(path.as_str(), payload)).collect();
            let content: Arc<[u8]> = events.concat().into();
            for id in viewers {
                let (bytes, content) = (Vec::new(), content.clone());
                effects.output(Output::Web { id, bytes, content, is_last: false });
            }
        }
        if let Some((site, last)) = self.sites.get_mut(key).zip(payloads.iter().last()) {
            site.last.insert(path.clone(), event(path.as_str(), last));
        }
    }

    /// Messages of a page did not arrive, or may not have.
    pub fn show_undelivered(
        &self,
        facts: &Facts,
        key: &SpaceKey,
        path: u8,
        undelivered: Undelivered,
        effects: &mut Effects,
    ) {
        let Undelivered { lost, unknown } = undelivered;
        let spec = facts.spec_of(key);
        let Some((path, _)) = spec.and_then(|spec| spec.paths_from(&key.space).nth(usize::from(path))) else {
            return;
        };
        let line = format!("{{\"path\":\"{}\",\"lost\":{lost},\"unknown\":{unknown}}}", path.name);
        for id in self.viewers(key) {
            let bytes = text_event("-undelivered", &line);
            effects.output(Output::Web { id, bytes, content: Arc::default(), is_last: false });
        }
    }
}

/// A page sends a message along a path of its space.
fn post(
    facts: &Facts,
    messages: &Messages,
    key: &SpaceKey,
    (path, payload): (&str, &[u8]),
    effects: &mut Effects,
) -> Response {
    let Some(index) = facts.spec_of(key).and_then(|spec| {
        let index = spec.paths_from(&key.space).position(|(known, _)| known.name.as_str() == path)?;
        u8::try_from(index).ok()
    }) else {
        return Response::sentence(Status::NotFound, "The space has no such path.");
    };
    if messages.outstanding(key, index).is_none_or(|outstanding| outstanding >= OUTSTANDING_MAX) {
        let text = "The space at the other end takes no messages now; try again.";
        return Response::sentence(Status::Unavailable, text).header("Retry-After", "1");
    }
    effects.emit(key.clone(), index, Batch::from_iter([payload]));
    Response::new(Status::Accepted)
}

/// A file of a UI space; of a directory, its `index.html`.
fn serve(site: &Site, root: &str, file: &str, request: &Request) -> Response {
    let name = match file.strip_suffix('/').unwrap_or(file) {
        "" => "index.html".to_owned(),
        dir if file.ends_with('/') => format!("{dir}/index.html"),
        file => file.to_owned(),
    };
    let Some((hash, asset)) = site.assets.get(&name) else {
        return Response::sentence(Status::NotFound, "The space has no such file.");
    };
    let is_compressed = asset.is_deflated && request.accepts_gzip;
    // The same content in two forms is two things (RFC 9110, section 8.8.3.3).
    let etag = format!("\"{hash}{}\"", if is_compressed { "-gzip" } else { "" });
    let has_it = request.has_etag.as_ref().is_some_and(|known| {
        known == "*" || known.split(',').any(|known| known.trim().trim_start_matches("W/") == etag)
    });
    let status = if has_it { Status::NotModified } else { Status::Ok };
    let response = Response::new(status)
        .confine(&request.host, root)
        .header("ETag", &etag)
        .header("Cache-Control", "no-cache")
        .header("Vary", "Accept-Encoding");
    let wanted = request.method != Method::Head;
    match asset.gzip().filter(|_| is_compressed && !has_it) {
        _ if has_it => response,
        Some(gzip) => response.header("Content-Encoding", "gzip").content(media_type(&name), gzip),
        None if wanted => response.content(media_type(&name), asset.plain()),
        None => response.content_size(media_type(&name), asset.size_bytes as usize),
    }
}
