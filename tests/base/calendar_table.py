"""Writes calendar_table.txt, which calendar_test.c compares sally_calendar_next with: random lines
of crontab(5) and the next five instants of each, found by trying every minute with Python's
datetime and zoneinfo. The same seed gives the same table, as long as the zones' rules are the same:
run it again only to make another table.

    python3 tests/base/calendar_table.py > tests/base/calendar_table.txt
"""
import calendar
import datetime
import random
import zoneinfo

UTC = datetime.timezone.utc
DAY = datetime.timedelta(days=1)
INSTANTS = 5
UTC_LINES = 200
ZONE_LINES = 40
ZONES = {  # the years whose changes are in the table
    "Europe/Berlin": (2020, 2030),
    "Australia/Lord_Howe": (2020, 2030),  # half an hour
    "America/Havana": (2014, 2024),       # at midnight
    "Africa/Casablanca": (2019, 2029),    # back for Ramadan
    "Pacific/Apia": (2010, 2013),         # left out 30 December 2011
    "America/St_Johns": (2006, 2012),     # half hours from UTC, at a minute after midnight
}
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
WEEKDAYS = "sun mon tue wed thu fri sat".split()


def name(draw, value, names, first):
    if names is None or draw.random() < 0.6:
        return str(value)
    text = names[(value - first) % len(names)]
    return draw.choice([text, text.upper(), text.capitalize()])


def field(draw, first, last, star, names=None):
    """Text and values of a random field."""
    if draw.random() < star:
        return "*", set(range(first, last + 1))
    parts, values = [], set()
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        kind = draw.random()
        low, high = sorted([draw.randint(first, last), draw.randint(first, last)])
        step = draw.randint(1, max(1, (last - first) // 2))
        if kind < 0.5:
            parts.append(name(draw, low, names, first))
            values.add(low)
        elif kind < 0.7:
            parts.append(f"{low}-{high}")
            values |= set(range(low, high + 1))
        elif kind < 0.9:
            parts.append(f"{low}-{high}/{step}")
            values |= set(range(low, high + 1, step))
        else:
            parts.append(f"*/{step}")
            values |= set(range(first, last + 1, step))
    return ",".join(parts), values


class Line:
    def __init__(self, draw, stars):
        fields = [field(draw, 0, 59, stars[0]), field(draw, 0, 23, stars[1]),
                  field(draw, 1, 31, stars[2]), field(draw, 1, 12, stars[3], MONTHS),
                  field(draw, 0, 7, stars[4], WEEKDAYS)]
        self.text = draw.choice([" ", " ", "  ", "\t"]).join(text for text, _ in fields)
        self.minutes, self.hours, self.days, self.months, weekdays = (v for _, v in fields)
        self.weekdays = {day % 7 for day in weekdays}
        self.both = fields[2][0].startswith("*") or fields[4][0].startswith("*")

    def near(self, draw, hour):
        """Every day, also in the hours around a change."""
        text, self.minutes = field(draw, 0, 59, 0.2)
        others = draw.sample(range(24), draw.randint(0, 2))
        self.hours = {hour, (hour + draw.choice([0, 1])) % 24, *others}
        hours = ",".join(map(str, sorted(self.hours)))
        if draw.random() < 0.3:
            self.hours, hours = set(range(24)), "*"
        self.text = f"{text} {hours} * * *"
        self.days, self.months, self.weekdays = set(range(32)), set(range(13)), set(range(7))
        self.both = True

    def has_day(self, date):
        of_month = date.day in self.days
        of_week = date.isoweekday() % 7 in self.weekdays
        fits = of_month and of_week if self.both else of_month or of_week
        return date.month in self.months and fits

    def has(self, when):
        return when.minute in self.minutes and when.hour in self.hours and self.has_day(when)

    def next_utc(self, after):
        """The instants after one, in UTC; fewer when there are none within 60 years."""
        found = []
        date = datetime.datetime.fromtimestamp(after, UTC).date()
        for _ in range(60 * 366):
            if self.has_day(date):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        when = calendar.timegm((date.year, date.month, date.day, hour, minute, 0))
                        if when > after:
                            found.append(when)
                        if len(found) == INSTANTS:
                            return found
            date += DAY
        return found

    def next_zone(self, after, zone):
        """By the rules of sallyport/calendar.h, one minute of UTC after the other."""
        found = []
        each_hour = self.hours == set(range(24))
        when = after - after % 60
        while len(found) < INSTANTS and when < after + 400 * 86400:
            when += 60
            local = datetime.datetime.fromtimestamp(when, zone)
            before = datetime.datetime.fromtimestamp(when - 60, zone)
            fits = self.has(local) and (each_hour or local.fold == 0)
            shown, last = local.replace(tzinfo=None), before.replace(tzinfo=None)
            left_out = (shown - last) // datetime.timedelta(minutes=1) - 1
            if not each_hour:
                for n in range(left_out):
                    fits = fits or self.has(last + datetime.timedelta(minutes=n + 1))
            if fits and when > after:
                found.append(when)
        return found


def changes(zone, years):
    """(instant, offset from there on) of every change; the first is the beginning."""
    at = calendar.timegm((years[0], 1, 1, 0, 0, 0))
    end = calendar.timegm((years[1], 1, 1, 0, 0, 0))

    def offset(when):
        return int(datetime.datetime.fromtimestamp(when, zone).utcoffset().total_seconds())

    found = [(at, offset(at))]
    for at in range(at, end, 3600):
        if offset(at) == found[-1][1]:
            continue
        exact = next(s for s in range(at - 3600 + 60, at + 1, 60) if offset(s) != found[-1][1])
        found.append((exact, offset(exact)))
    return found


def write(zone, after, line, found):
    text = line.text.replace("\t", "\\t")
    numbers = ", ".join(map(str, (found + [0] * INSTANTS)[:INSTANTS]))
    print(f'ROW({zone}, {after}, "{text}",\n    {numbers})')


def main():
    draw = random.Random(20261121)
    print("/* Written by calendar_table.py. */")
    for number, (key, years) in enumerate(ZONES.items(), 1):
        for at, offset in changes(zoneinfo.ZoneInfo(key), years):
            print(f"CHANGE({number}, {at}, {offset})")
    for _ in range(UTC_LINES):
        line = Line(draw, [draw.choice([0.1, 0.5, 0.9]) for _ in range(5)])
        after = draw.choice([draw.randrange(0, 4102444800), draw.randrange(1700000000, 1800000000)])
        write(0, after, line, line.next_utc(after))
    for number, (key, years) in enumerate(ZONES.items(), 1):
        zone = zoneinfo.ZoneInfo(key)
        for _ in range(ZONE_LINES):
            at, _ = draw.choice(changes(zone, years)[1:-1])
            line = Line(draw, [draw.choice([0, 0.5]), draw.choice([0.3, 0.9]), 0.95, 0.95, 0.95])
            if draw.random() < 0.7:
                line.near(draw, datetime.datetime.fromtimestamp(at - 60, zone).hour)
            after = at + draw.choice([draw.randint(-2 * 86400, 60), draw.randint(-7300, 7300)])
            write(number, after, line, line.next_zone(after, zone))


if __name__ == "__main__":
    main()
