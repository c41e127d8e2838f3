"""Times and durations as a reader says them: `12:03`, `4 min`."""

from datetime import datetime


def duration(seconds: float) -> str:
    """`4 s`, `14 min`, `2 h 5 min`, `3 d 4 h`: the two largest units at most."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def clock(moment: datetime, now: datetime) -> str:
    """`12:03` of the day of `now`, `2026-11-30 12:03` of another, in the time zone of this machine."""
    here = moment.astimezone()
    return f"{here:%H:%M}" if here.date() == now.astimezone().date() else f"{here:%Y-%m-%d %H:%M}"


def ago(moment: datetime, now: datetime) -> str:
    """`4 min ago`."""
    return f"{duration((now - moment).total_seconds())} ago"
