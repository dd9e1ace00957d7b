"""Tasks of CCP4i2: ``unetmask`` (mask of a map) and ``unetdm`` (density modification).

:mod:`.registration` tells CCP4i2 of them, :mod:`.suite` holds what differs between its generations
(2.6, Qt, and 3, Django).  As CCP4i2 wants it, a task is a class of the same name in a script module,
with a def.xml, a report and, for 2.6, a GUI module; :mod:`.task`, :mod:`.task_report` and
:mod:`.task_gui` are what they share.
"""
