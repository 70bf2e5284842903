package dev.perigee.peer;

/** An order that a topic with {@link Order} refuses: {@code quantity} has become text. */
public class OrderV2 {
    public String id;
    public String quantity;
}
