"""What the demo's company is: its sites, apps, models, events, and what people ask and get told."""

from __future__ import annotations

from typing import NamedTuple


class App(NamedTuple):
    """An app: its share of all calls, medians of its tokens, and its texts."""

    name: str
    share: float
    model: str
    prompt_tokens: int
    completion_tokens: int
    prompts: tuple[str, ...]
    responses: tuple[str, ...]


class Event(NamedTuple):
    """An event that starts jobs, and the apps that a job of it calls in turn."""

    name: str
    connector: str
    share: float
    chain: tuple[str, ...]


# Site and its share of all calls.
SITES: tuple[tuple[str, float], ...] = (
    ("berlin-store", 0.34),
    ("paris-store", 0.26),
    ("london-outlet", 0.19),
    ("milan-atelier", 0.13),
    ("oslo-market", 0.08),
)

# Milliseconds before the first token, and for each token.
MODELS: dict[str, tuple[float, float]] = {
    "gpt-4o": (620.0, 14.0),
    "gpt-4o-mini": (310.0, 6.5),
    "claude-sonnet-4": (700.0, 12.0),
    "mistral-small": (240.0, 7.5),
}

# What a million prompt and completion tokens cost: now, and until a fortnight ago.
PRICES: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "gpt-4o": (("2.50", "10"), ("5", "15")),
    "gpt-4o-mini": (("0.15", "0.60"), ("0.15", "0.60")),
    "claude-sonnet-4": (("3", "15"), ("3", "15")),
    "mistral-small": (("0.10", "0.30"), ("0.20", "0.60")),
}

APPS: tuple[App, ...] = (
    App(
        "chat_assistant", 0.34, "gpt-4o-mini", 640, 140,
        ("Where is my order {number}?", "Can I return the {thing} after 20 days?",
         "Do you have the {thing} in green?", "My voucher {number} is not accepted."),
        ("Order {number} left our warehouse this morning and arrives within two days.",
         "Yes, the {thing} can be returned within 30 days, in its box.",
         "The {thing} comes in green, black and sand; all three are in stock."),
    ),
    App(
        "product_description", 0.16, "gpt-4o", 420, 260,
        ("Describe the {thing}, article {number}, in 60 words for the shop.",
         "Rewrite the text of article {number} ({thing}) for a younger audience."),
        ("Light, warm and made to last: the {thing} goes where you go, from first tram to last dance.",
         "Meet the {thing}. Honest materials, quiet lines, and a price that stays fair."),
    ),
    App(
        "review_summary", 0.11, "claude-sonnet-4", 1800, 180,
        ("Summarise the {number} newest reviews of the {thing}.",),
        ("Buyers praise the fit and the fabric of the {thing}; a few find the delivery slow.",
         "Most reviews of the {thing} are warm. The zip is named as its weak point three times."),
    ),
    App(
        "translation", 0.12, "mistral-small", 360, 340,
        ("Translate the page of the {thing} into French.", "Translate article {number} into Norwegian."),
        ("Léger, chaud et fait pour durer : voici notre {thing}.", "Lett, varm og holdbar: {thing}."),
    ),
    App(
        "recommendation", 0.12, "gpt-4o-mini", 900, 90,
        ("Which three articles go with the {thing} in basket {number}?",),
        ("With the {thing} go: the canvas belt, the wool socks and the care set.",),
    ),
    App(
        "email_draft", 0.07, "gpt-4o", 520, 310,
        ("Write to the member who left the {thing} in basket {number}.",),
        ("Hello! Your {thing} is still waiting. We keep it for you until Sunday.",),
    ),
    App(
        "fraud_check", 0.05, "claude-sonnet-4", 1250, 60,
        ("Judge order {number}: new account, two {thing}s, express delivery.",),
        ("Low risk: address and payment agree, and the amount is usual for the site.",),
    ),
    App(
        "image_caption", 0.03, "mistral-small", 280, 45,
        ("Caption picture {number} of the {thing}.",),
        ("The {thing} on a wooden chair, in morning light.",),
    ),
)  # fmt: skip

EVENTS: tuple[Event, ...] = (
    Event("order_created", "shopify", 0.30, ("fraud_check", "recommendation")),
    Event("product_updated", "shopify", 0.24, ("product_description", "translation")),
    Event("review_posted", "webhook", 0.18, ("review_summary",)),
    Event("cart_abandoned", "cron", 0.14, ("recommendation", "email_draft")),
    Event("picture_uploaded", "webhook", 0.08, ("image_caption", "product_description", "translation")),
    Event("member_joined", "webhook", 0.06, ("email_draft",)),
)

THINGS: tuple[str, ...] = (
    "linen shirt", "rain jacket", "wool scarf", "leather bag", "trail shoe", "denim skirt", "desk lamp",
    "oak stool", "tea pot", "travel mug", "silk tie", "running cap",
)  # fmt: skip

# What a run that did not succeed says, by its status.
ERRORS: dict[str, tuple[str, ...]] = {
    "failed": (
        "upstream returned 503 Service Unavailable",
        "rate limit of the model reached: retry after 20 s",
        "the answer was no valid JSON: expected value at line 1 column 1",
        "context of 131072 tokens exceeded",
    ),
    "timeout": ("no answer within 30 s",),
    "circuit_open": ("circuit open after 5 failures: not called",),
}

OPERATORS: tuple[str, ...] = ("mara", "jonas", "night-shift")
