"""What people read: functions that take nouns and return text."""
