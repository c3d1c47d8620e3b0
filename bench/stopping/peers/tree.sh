# The process tree of the last scene: a shell, its child, and a grandchild in its own session.
# Inputs: $1 the directory for the heartbeats, $2 the number of heartbeats.
beat() {
  n=0
  while [ $n -lt "$2" ]; do
    echo $$ >"$1"
    n=$((n + 1))
    sleep 0.05
  done
}
case "${3:-}" in
child)
  setsid sh "$0" "$1" "$2" grandchild &
  beat "$1/child" "$2"
  ;;
grandchild) beat "$1/grandchild" "$2" ;;
*)
  sh "$0" "$1" "$2" child &
  beat "$1/shell" "$2"
  ;;
esac
