#!/bin/sh
# machine LIFELINE LOG PROGRAM [ARGUMENT..]: a program that lives no longer than whoever holds the lifeline, a named
# pipe that nobody ever writes to. This shell is the container's first process: all ends with it.
lifeline=$1 log=$2
shift 2
exec 2>> "$log"

"$@" &
program=$!
{
    read -r _ < "$lifeline"
    kill -KILL "$program"
} &
wait "$program"
